"""NVIDIA's tegrastats: what its lines say, and the process that prints one every second.

The grammar differs by release and even by user (JetPack 4 prints bare milliwatts, Thor has no GPU load, root
sees more clocks), so a line is read word by word: a word and the one after it either make sense together or
are passed over. NVIDIA's developer guides, "Tegrastats Utility", name the fields.
"""

import os
import re
import signal
import subprocess
import threading
import time
from typing import Any, BinaryIO, Callable, Dict, List, NamedTuple, Optional, Tuple

from device_agents.boards.host import Host

INTERVAL_MS = 1000

#: A line older than this tells of another moment.
MAX_AGE_S = 3.0

#: tegrastats gets this long to end when asked to.
_STOP_S = 2.0

_LINE_LIMIT = 1 << 16
_UNITS = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}

# No number here has more digits than the thing it counts can need: what is longer is not a reading.
_AMOUNTS = re.compile(r"([0-9]{1,8})/([0-9]{1,8})(kB|MB|GB)$")
_FREE_BLOCKS = re.compile(r"([0-9]{1,8})x([0-9]{1,8})(kB|MB|GB)\)$")
_CACHED = re.compile(r"([0-9]{1,8})(kB|MB|GB)\)$")
_CORES = re.compile(r"\[([^\[\]]*)\](?:@([0-9]{1,5}))?$")
_USE = re.compile(r"(?:([0-9]{1,3})%)?(?:@(?:([0-9]{1,5})|\[([0-9a-z,]*)\]))?$")
_ENGINE = re.compile(r"(?:APE|MSENC|NVENC|NVDEC|NVJPG|NVDLA|PVA|VIC|OFA|SE|TSEC|ISP|VI)[0-9]*(?:_FREQ)?$")
_TEMPERATURE = re.compile(
    r"([A-Za-z][\w.-]*)@(-?[0-9]{1,3}(?:\.[0-9]{1,6})?)C(?:/(-?[0-9]{1,3}(?:\.[0-9]{1,6})?)C)?$", re.ASCII
)
_RAIL_NAME = re.compile(r"[A-Z][A-Z0-9_]*$")
_RAIL = re.compile(
    r"(-?[0-9]{1,7})(?:mW)?/(-?[0-9]{1,7})(?:mW)?(?:/(-?[0-9]{1,7})(?:mW)?)?$|(-?[0-9]{1,7})mW$"
)
_BRACKETS = re.compile(r"\[[^\[\]]*\]")

#: A sensor or cluster that is switched off reads -256 C.
_COLDEST_C, _HOTTEST_C = -60.0, 200.0


class Use(NamedTuple):
    """How busy a unit is, as a share of its present clock, and that clock; what is not said is None."""

    load: Optional[float]
    mhz: Optional[float]


class Temperature(NamedTuple):
    """Of one zone: now and, where tegrastats keeps it, the highest since it began."""

    now_c: float
    highest_c: Optional[float]


class Rail(NamedTuple):
    """Power on one rail in milliwatts: now, on average and at most since tegrastats began."""

    now_mw: int
    average_mw: Optional[int]
    highest_mw: Optional[int]


class TegraStats(NamedTuple):
    """One line of tegrastats. Absent is None or not in the collection."""

    ram_used_bytes: Optional[int] = None
    ram_total_bytes: Optional[int] = None
    #: How many blocks of the largest free size there are, and that size: it bounds what cudaMalloc can get.
    free_blocks: Optional[int] = None
    free_block_bytes: Optional[int] = None
    swap_used_bytes: Optional[int] = None
    swap_total_bytes: Optional[int] = None
    swap_cached_bytes: Optional[int] = None
    #: By number; a core that is switched off is None.
    cores: List[Optional[Use]] = []
    emc: Optional[Use] = None
    gpu_load: Optional[float] = None
    #: One clock for every part of the GPU that has its own.
    gpu_mhz: List[float] = []
    #: Encoders, decoders, DLA and the like; one that is switched off is None.
    engines: Dict[str, Optional[Use]] = {}
    temperatures: Dict[str, Temperature] = {}
    #: Of equal names (NC is any channel that is not connected) the later ones get a number: "NC", "NC 2".
    rails: Dict[str, Rail] = {}


def parse(line: str) -> TegraStats:
    """What a line says; never raises.

    The last word counts only when something follows it, if only the line's end: a number that was cut off
    still looks like one.
    """
    closed = _BRACKETS.sub(lambda found: re.sub(r"\s", "", found.group()), line)
    words = closed.split()
    if words and not closed[-1:].isspace():
        words.pop()
    reading = _Reading()
    position = 0
    while position < len(words):
        following = words[position + 1] if position + 1 < len(words) else ""
        position += reading.take(words[position], following)
    return reading.result()


class _Reading:
    """The fields of one line, collected."""

    def __init__(self) -> None:
        self._fields: Dict[str, Any] = {}
        self._cores: List[Optional[Use]] = []
        self._emc: Optional[Use] = None
        self._gpu: Dict[str, Tuple[Optional[float], List[float]]] = {}
        self._engines: Dict[str, Optional[Use]] = {}
        self._temperatures: Dict[str, Temperature] = {}
        self._rails: Dict[str, Rail] = {}

    def take(self, word: str, following: str) -> int:
        """Understand a word, with the one after it where that belongs to it; returns how many were used."""
        if self._temperature(word):
            return 1
        understood = (
            self._memory(word, following)
            or self._processors(word, following)
            or self._engine(word, following)
            or self._rail(word, following)
        )
        return 2 if understood else 1

    def result(self) -> TegraStats:
        """All of it; the GPU's parts in the order of their names, GR3D before GR3D2."""
        parts = [self._gpu[name] for name in sorted(self._gpu, key=lambda name: (len(name), name))]
        return TegraStats(
            cores=self._cores,
            emc=self._emc,
            gpu_load=next((load for load, _clocks in parts if load is not None), None),
            gpu_mhz=[mhz for _load, clocks in parts for mhz in clocks],
            engines=self._engines,
            temperatures=self._temperatures,
            rails=self._rails,
            **self._fields,
        )

    def _temperature(self, word: str) -> bool:
        found = _TEMPERATURE.match(word)
        if found is None:
            return False
        now_c = float(found.group(2))
        highest_c = float(found.group(3)) if found.group(3) else None
        if _COLDEST_C < now_c < _HOTTEST_C:
            if highest_c is not None and not _COLDEST_C < highest_c < _HOTTEST_C:
                highest_c = None
            self._temperatures.setdefault(found.group(1), Temperature(now_c, highest_c))
        return True

    def _memory(self, word: str, following: str) -> bool:
        if word in ("RAM", "SWAP"):
            found = _AMOUNTS.match(following)
            return found is not None and self._keep(
                (word.lower() + "_used_bytes", int(found.group(1)) * _UNITS[found.group(3)]),
                (word.lower() + "_total_bytes", int(found.group(2)) * _UNITS[found.group(3)]),
            )
        if word == "(lfb":
            found = _FREE_BLOCKS.match(following)
            return found is not None and self._keep(
                ("free_blocks", int(found.group(1))),
                ("free_block_bytes", int(found.group(2)) * _UNITS[found.group(3)]),
            )
        if word == "(cached":
            found = _CACHED.match(following)
            return found is not None and self._keep(
                ("swap_cached_bytes", int(found.group(1)) * _UNITS[found.group(2)])
            )
        return False

    def _keep(self, *fields: Tuple[str, int]) -> bool:
        for name, value in fields:
            self._fields.setdefault(name, value)
        return True

    def _processors(self, word: str, following: str) -> bool:
        if word == "CPU" and following.startswith("["):
            self._cores = self._cores or _cores(following)
            return True
        use = _use(following)
        if use is None:
            return False
        load, clocks = use
        if word == "EMC_FREQ":
            self._emc = self._emc or Use(load, clocks[0] if clocks else None)
        elif word.startswith("GR3D") and word.endswith("_FREQ"):
            self._gpu.setdefault(word, (load, clocks))
        else:
            return False
        return True

    def _engine(self, word: str, following: str) -> bool:
        if _ENGINE.match(word) is None:
            return False
        name = word[: -len("_FREQ")] if word.endswith("_FREQ") else word
        if following.lower() == "off":
            self._engines.setdefault(name, None)
            return True
        # "APE 174" is a clock too, written without the @.
        use = _use("@" + following if following.isdigit() else following)
        if use is None:
            return False
        load, clocks = use
        self._engines.setdefault(name, Use(load, clocks[0] if clocks else None))
        return True

    def _rail(self, word: str, following: str) -> bool:
        found = _RAIL.match(following)
        if found is None or _RAIL_NAME.match(word) is None or word in ("RAM", "SWAP", "IRAM"):
            return False
        name, number = word, 1
        while name in self._rails:
            number += 1
            name = "{} {}".format(word, number)
        now, average, highest, alone = (None if text is None else int(text) for text in found.groups())
        self._rails[name] = Rail(now if now is not None else alone or 0, average, highest)
        return True


def _cores(text: str) -> List[Optional[Use]]:
    """`[5%@102,off]`, or with one clock for all, `[5%,,off]@102`; none of it where any of it is odd."""
    found = _CORES.match(text)
    if found is None:
        return []
    together = "@" + found.group(2) if found.group(2) else ""
    cores: List[Optional[Use]] = []
    for entry in found.group(1).split(","):
        if entry == "off" or (together and not entry):
            cores.append(None)
            continue
        use = _use(entry + together)
        if use is None or len(use[1]) > 1:
            return []
        cores.append(Use(use[0], use[1][0] if use[1] else None))
    return cores


def _use(text: str) -> Optional[Tuple[Optional[float], List[float]]]:
    """Load and clocks of `12%`, `12%@1300`, `12%@[1300,1300]`, `@2750` or `@[314,314,314]`."""
    found = _USE.match(text)
    if found is None or not text:
        return None
    percent, clock, clocks = found.groups()
    if percent is not None and int(percent) > 100:
        return None
    entries = [clock] if clock else [entry for entry in (clocks or "").split(",") if entry and entry != "off"]
    if not all(re.match(r"[0-9]{1,5}$", entry) for entry in entries):
        return None
    return (None if percent is None else int(percent) / 100.0), [float(entry) for entry in entries]


class TegraStatsProcess:
    """tegrastats, running while a job does; a board without it, or on which it dies, just says less.

    A thread takes its lines as they come. Were they read only when somebody asks, the pipe would fill during
    a long build, and the newest line in it would be minutes old. Nobody else holds the pipe's reading end
    (Python hands it to no child), so when this process dies, however, tegrastats dies of SIGPIPE at its next
    line.
    """

    def __init__(self, host: Host, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._process: Optional["subprocess.Popen[bytes]"] = None
        self._reader: Optional[threading.Thread] = None
        #: The newest line and when it came, replaced as one.
        self._newest: Optional[Tuple[float, bytes]] = None

    @property
    def pid(self) -> Optional[int]:
        """Its process, while there is one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, where the board has it; a second start changes nothing."""
        path = self._host.commands.path("tegrastats")
        if path is None or self._process is not None:
            return
        try:
            self._process = subprocess.Popen(
                [self._host.files.path(path), "--interval", str(INTERVAL_MS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=dict(os.environ, LC_ALL="C", LANG="C"),
            )
        except OSError:
            return
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name="tegrastats", daemon=True
        )
        self._reader.start()

    def newest(self) -> TegraStats:
        """What its newest line says; nothing where there is none of the last seconds. Does not wait."""
        newest = self._newest
        if newest is None or self._clock() - newest[0] > MAX_AGE_S:
            return TegraStats()
        return parse(newest[1].decode("utf-8", "replace"))

    def stop(self) -> None:
        """End it and everything it started."""
        process, reader = self._process, self._reader
        self._process, self._reader, self._newest = None, None, None
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(process, number)
            try:
                process.wait(_STOP_S)
                break
            except subprocess.TimeoutExpired:  # one that hangs in the kernel is left to SIGPIPE
                continue
        if reader is not None:
            reader.join(_STOP_S)
            if not reader.is_alive() and process.stdout is not None:
                process.stdout.close()

    def _read(self, lines: BinaryIO) -> None:
        """Keep the newest whole line; of one without end nothing is kept."""
        whole = True
        while True:
            try:
                line = lines.readline(_LINE_LIMIT)
            except (OSError, ValueError):  # closed under us
                return
            if not line:
                return
            if whole and line.endswith(b"\n"):
                self._newest = (self._clock(), line)
            whole = line.endswith(b"\n")


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    """To it and to whatever it started; its number stays its own until it is waited for."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass
