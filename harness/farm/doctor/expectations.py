"""Where a board is not what its kind should be; the sentences come from harness/board_expectations.py."""

from __future__ import annotations

from collections.abc import Iterator

from harness.farm.doctor.findings import Finding, Patient, advice


def rules(patient: Patient) -> Iterator[Finding]:
    """One finding a difference."""
    for sentence in patient.differences:
        yield advice(
            "kind of board", sentence, "Its figures differ from those of its kind for that reason alone."
        )
