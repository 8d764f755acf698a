"""Tests of the doctor: from what was found on a board to words and commands."""
