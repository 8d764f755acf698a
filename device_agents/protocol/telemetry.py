"""The state of a board while a job measures, and what is done about it."""

from typing import Dict, List, NamedTuple, Optional


class TelemetrySample(NamedTuple):
    """The board's state at one moment; `phase` is before, running or after. Loads are shares from 0 to 1."""

    time: float
    phase: str
    #: The hottest zone that slows the board down.
    temperature_c: Optional[float]
    #: The true clock where the board tells it, else what cpufreq reports.
    cpu_mhz: Optional[float]
    cpu_mhz_limit: Optional[float]
    governor: Optional[str]
    throttled: Optional[bool]
    under_voltage: Optional[bool]
    throttle_count: Optional[int]
    load_1m: Optional[float]
    memory_available_bytes: Optional[int]
    swapped_pages: Optional[int]
    #: Power of `power_rail`, and of every rail there is, watts.
    power_w: Optional[float]
    power_rail: Optional[str] = None
    rails_w: Dict[str, float] = {}
    #: Seconds of the board's CLOCK_MONOTONIC: wall clocks of boards jump.
    monotonic_s: Optional[float] = None
    gpu_temperature_c: Optional[float] = None
    gpu_mhz: Optional[float] = None
    gpu_load: Optional[float] = None
    #: Clock of the memory controller (Jetson: EMC).
    memory_mhz: Optional[float] = None
    power_mode: Optional[str] = None
    #: Raspberry Pi's get_throttled: bits 0 to 3 now, 16 to 19 since boot.
    throttle_flags: Optional[int] = None
    core_volts: Optional[float] = None
    fan_rpm: Optional[float] = None


class PerformanceModeSet(NamedTuple):
    """The board's clocks and power were raised, as far as this user may: `reached` says whether all was."""

    time: float
    mode: str
    reached: bool
    before: Dict[str, str]
    after: Dict[str, str]
    #: What could not be set or did not take, each with the remedy.
    problems: List[str]


class PerformanceModeRestored(NamedTuple):
    """The board is as it was before the performance mode; `problems` says what is not."""

    time: float
    restored: bool
    settings: Dict[str, str]
    problems: List[str]


class CooledDown(NamedTuple):
    """The supervisor waited for the board to cool before a repetition."""

    time: float
    seconds: float
    temperature_c: Optional[float]
    reached: bool
