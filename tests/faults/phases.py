"""What a run is doing at a moment, as its board shows it from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.faults.link_proxy import LinkProxy
from tests.faults.struck_boards import StruckBoard

#: In the order of a run.
PHASES = (
    "connect",
    "agent upload",
    "probe",
    "submit",
    "blob upload",
    "build",
    "measure",
    "evaluate",
    "job's begin or end",
    "fetch",
    "between commands",
)

#: Less than this was sent on the newest connection: it is being made. A login takes some 2.5 KB.
HANDSHAKE_BYTES = 2600

#: By the words of an agent's command line; the first that is found says what goes on.
_COMMANDS = (
    ("mkdir -p", "agent upload"),
    (" get ", "fetch"),
    (" put ", "blob upload"),
    (" submit", "submit"),
    (" build ", "build"),
    (" probe ", "probe"),
    (" prove ", "probe"),
)


def phase(board: StruckBoard, number: int, link: LinkProxy, strangers: Counter[str] | None = None) -> str:
    """One of PHASES; `strangers` as for `StruckBoard.processes`."""
    lines = list(board.processes(number, strangers).values())
    for words, name in _COMMANDS:
        if any(words in line for line in lines):
            return name
    if any(" worker " in line for line in lines):
        return "evaluate" if _evaluates(board, number) else "measure"
    if link.newest_up < HANDSHAKE_BYTES:
        return "connect"
    return "job's begin or end" if any(" supervise " in line for line in lines) else "between commands"


def _evaluates(board: StruckBoard, number: int) -> bool:
    """Whether a running job's repetition has its samples, so that its outputs are being proved."""
    for _, events in board.jobs(number).values():
        kinds: Sequence[object] = [event["type"] for event in events]
        if kinds and kinds[-1] != "ended":
            after = [kind for kind in kinds if kind in ("samples", "repetition_started", "repetition_ended")]
            return bool(after) and after[-1] == "samples"
    return False
