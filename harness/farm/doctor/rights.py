"""What the agent's user may do: read the firmware, and raise clocks for a performance mode."""

from __future__ import annotations

from collections.abc import Iterator

from harness.farm.doctor import prescriptions
from harness.farm.doctor.findings import Finding, Patient, advice, good, problem


def rules(patient: Patient) -> Iterator[Finding]:
    """The Raspberry Pi's firmware, then root's commands."""
    if patient.family == "raspberry-pi":
        yield _firmware(patient)
    yield from _sudo(patient)


def _firmware(patient: Patient) -> Finding:
    examined = patient.examined
    if "vcgencmd" not in examined.commands:
        return advice(
            "vcgencmd",
            "not found",
            "Only the firmware knows the true clock and whether it was throttled or short of voltage.",
            prescriptions.vcgencmd(patient),
        )
    if not examined.is_root and "video" not in examined.groups:
        return problem(
            "group video",
            f"{examined.user} is not in it",
            "Without it vcgencmd may not speak to the firmware, and throttling stays unseen; log in anew "
            "afterwards.",
            f"sudo usermod -aG video {examined.user}",
        )
    return good("vcgencmd", f"{examined.commands['vcgencmd']}, and {examined.user} may use it")


def _sudo(patient: Patient) -> Iterator[Finding]:
    answers = patient.examined.sudo
    if not answers:
        return
    refused = {line: answer for line, answer in answers.items() if answer != "allowed"}
    if not refused:
        yield good("performance mode", f"{patient.examined.user} may set it")
        return
    line, answer = next(iter(refused.items()))
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    yield advice(
        "performance mode",
        f"{answer}: sudo {line}{more}",
        "Clocks cannot be raised (--performance-mode max); a narrow sudoers file allows just these commands.",
        prescriptions.sudoers(patient),
    )
