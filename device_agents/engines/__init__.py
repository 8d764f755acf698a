"""Engines: built once on the board, kept, and measured again by the vendor's own tool."""
