"""All rules over one board, what blocks first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.farm.doctor import conditions, expectations, memory, packages, rights, runtimes, storage
from harness.farm.doctor.findings import Finding, Patient

#: In the order in which findings of equal weight are shown.
_RULES: tuple[Callable[[Patient], Iterable[Finding]], ...] = (
    runtimes.rules,
    packages.rules,
    storage.rules,
    conditions.rules,
    rights.rules,
    memory.rules,
    expectations.rules,
)

_WEIGHT = {"problem": 1, "advice": 2, "good": 3}


def diagnose(patient: Patient) -> tuple[Finding, ...]:
    """Findings of every rule: what blocks, other problems, advice, and what is well."""
    found = [finding for rules in _RULES for finding in rules(patient)]
    return tuple(sorted(found, key=lambda finding: 0 if finding.blocks else _WEIGHT[finding.state]))
