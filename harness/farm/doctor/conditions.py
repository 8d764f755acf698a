"""What a measurement meets: power supply, heat, clocks, other work, and the time of day."""

from __future__ import annotations

from collections.abc import Iterator

from harness.farm.doctor.findings import Finding, Patient, advice, good, problem

#: What a Raspberry Pi 5 wants; with less it caps USB and warns.
_FULL_SUPPLY_MA = 5000

#: get_throttled: bit 0 now and bit 16 since boot are under-voltage; 1 to 3 and 17 to 19 lowered clocks.
_UNDER_VOLTAGE = 0x10001
_LOWERED = 0xE000E

#: Certificates and log times suffer from minutes; seconds come from the link itself.
_WRONG_CLOCK_S = 60.0
_DRIFTED_CLOCK_S = 5.0

_BUSY_SHARE = 0.5


def rules(patient: Patient) -> Iterator[Finding]:
    """In the order in which they spoil a figure."""
    yield from _supply(patient)
    yield from _throttling(patient)
    yield from _temperature(patient)
    yield from _governor(patient)
    yield from _load(patient)
    yield from _clock(patient)


def _supply(patient: Patient) -> Iterator[Finding]:
    text = patient.examined.facts.details.get("supply_max_ma", "")
    if not text.isdecimal() or len(text) > 9:
        return
    if int(text) < _FULL_SUPPLY_MA:
        yield advice(
            "power supply",
            f"{text} mA",
            "A Raspberry Pi 5 draws up to 5000 mA, and with less may lower its clocks: use the 27 W supply.",
        )
    else:
        yield good("power supply", f"{text} mA")


def _throttling(patient: Patient) -> Iterator[Finding]:
    flags, now = patient.examined.throttle_flags, patient.examined.under_voltage
    if now or (flags or 0) & _UNDER_VOLTAGE:
        when = "now" if now or (flags or 0) & 1 else "since the board was started"
        yield problem(
            "voltage",
            f"too low {when}" + (f" (throttled={flags:#x})" if flags is not None else ""),
            "The firmware lowers the clock until the voltage is back: use a stronger supply and a short "
            "cable; the flag goes with a restart.",
        )
    elif (flags or 0) & _LOWERED:
        yield advice(
            "throttling",
            f"throttled={flags:#x}",
            "Clocks were lowered for heat since the board was started: give it a heat sink or a fan; the "
            "flag goes with a restart.",
        )
    elif flags is not None:
        yield good("throttling", "none since the board was started")


def _temperature(patient: Patient) -> Iterator[Finding]:
    found = patient.examined.temperature_c
    limit = patient.profile.max_start_temperature_c if patient.profile else None
    if found is None or limit is None:
        return
    if found > limit:
        yield advice(
            "temperature",
            f"{found:.0f} C",
            f"Runs compare when they start at {limit:.0f} C or less; the agent waits for that a while.",
        )
    else:
        yield good("temperature", f"{found:.0f} C")


def _governor(patient: Patient) -> Iterator[Finding]:
    found = patient.examined.facts.governor
    if found is None:
        return
    mode = patient.examined.facts.power_mode
    words = found + (f", power mode {mode}" if mode else "")
    if found == "performance":
        yield good("governor", words)
        return
    why = "The clock follows the load, so the first inferences are slower; the mode is put back after a run."
    if "performance" not in patient.examined.governors and patient.system.jetpack is None:
        offered = ", ".join(patient.examined.governors) or "no other"
        yield advice("governor", words, f"The clock follows the load; this kernel offers {offered}.")
        return
    yield advice("governor", words, why, f"bench run --device {patient.name} --performance-mode max ...")


def _load(patient: Patient) -> Iterator[Finding]:
    load, cores = patient.examined.load_1m, patient.examined.facts.cpu_count
    if load is None or not cores:
        return
    if load > _BUSY_SHARE * cores:
        yield advice(
            "load",
            f"{load:.1f} on {cores} cores",
            "Something else is at work, and it will be in the figures.",
            "top -o %CPU",
        )


def _clock(patient: Patient) -> Iterator[Finding]:
    ahead, examined = patient.clock_ahead_s, patient.examined
    rtc = f"real-time clock {examined.rtc}" if examined.rtc else "no real-time clock"
    if ahead is not None and abs(ahead) > _DRIFTED_CLOCK_S:
        side = "ahead of" if ahead > 0 else "behind"
        make = problem if abs(ahead) > _WRONG_CLOCK_S else advice
        yield make(
            "clock",
            f"{abs(ahead):.0f} s {side} this host's, {rtc}",
            "Times of day in logs and certificates are wrong; latencies are not, they have their own clock.",
            "sudo timedatectl set-ntp true",
        )
    elif examined.clock_synchronized is False:
        yield advice(
            "clock",
            f"not synchronised, {rtc}",
            "It will be wrong after the board was off."
            if examined.rtc is None
            else "It will drift by seconds a day.",
            "sudo timedatectl set-ntp true",
        )
    elif examined.clock_synchronized is not None or ahead is not None:
        yield good("clock", f"right, {rtc}")
