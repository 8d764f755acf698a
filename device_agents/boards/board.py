"""What the agent wants of a kind of board. A new one is a file beside this and a row in `table.py`."""

from typing import Dict, List, NamedTuple, Optional

from device_agents.boards.host import Host


class BoardFacts(NamedTuple):
    """What only this kind of board has to say of itself; goes into DeviceFacts under the same names."""

    power_mode: Optional[str] = None
    details: Dict[str, str] = {}
    #: What could not be read, each with the reason, as in "EMC clock: needs root".
    unreadable: List[str] = []


class BoardSample(NamedTuple):
    """The board's state at a moment; fields as in protocol.TelemetrySample, absent is None."""

    temperature_c: Optional[float] = None
    cpu_mhz: Optional[float] = None
    cpu_mhz_limit: Optional[float] = None
    governor: Optional[str] = None
    throttled: Optional[bool] = None
    under_voltage: Optional[bool] = None
    throttle_count: Optional[int] = None
    load_1m: Optional[float] = None
    memory_available_bytes: Optional[int] = None
    swapped_pages: Optional[int] = None
    power_w: Optional[float] = None
    power_rail: Optional[str] = None
    rails_w: Dict[str, float] = {}
    gpu_temperature_c: Optional[float] = None
    gpu_mhz: Optional[float] = None
    gpu_load: Optional[float] = None
    memory_mhz: Optional[float] = None
    power_mode: Optional[str] = None
    throttle_flags: Optional[int] = None
    core_volts: Optional[float] = None
    fan_rpm: Optional[float] = None


class Board:
    """A kind of board, looked at through `host`. Nothing here raises for what the board does not have."""

    family = ""

    def __init__(self, host: Host) -> None:
        self.host = host

    def facts(self) -> BoardFacts:
        """Facts that hold for a while; may start a few commands."""
        raise NotImplementedError

    def sample(self, thorough: bool) -> BoardSample:
        """The state now.

        Without `thorough` a repetition is running: files, what a process started in `start` says, and seldom
        a command where files do not tell what matters.
        """
        raise NotImplementedError

    def gpu_bytes(self, pid: int) -> Optional[int]:  # noqa: ARG002 - no driver to ask
        """Memory of the GPU that its driver says a process holds; None where it does not say."""
        return None

    def start(self) -> None:
        """A job begins: start what is needed to sample it."""

    def stop(self) -> None:
        """The job has ended: stop what `start` started."""
