"""How long a board that is lost is tried again, over all calls to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import LinkError
from harness.link.transport import Channel, Transport

#: Pauses before each new try of a call that a board breaks off without getting further, seconds.
RECONNECT_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)

#: The same for a board that is away altogether: ten minutes, and each try takes its own time. A router
#: restarts within that, a board boots, and a laptop that was carried elsewhere finds its network (while it
#: sleeps, no time passes here). What a job tells meanwhile waits in its journal.
AWAY_PAUSES_S = (*RECONNECT_PAUSES_S, *(30.0,) * 18)

#: For a board that has never answered: its address may be wrong, or it is switched off.
FIRST_PAUSES_S = (0.5, 1.0, 2.0, 4.0)

#: From the pause of this length on, the user hears what is being waited for.
_TOLD_FROM_S = 8.0

#: How long a sleep goes on after the user wants to stop.
_NAP_S = 0.25


def _silently(_words: str) -> None:
    return


@dataclass(frozen=True)
class Persistence:
    """That a lost board is to be waited for: until when, and who hears of it."""

    #: Whether the user wants to stop; asked a few times a second.
    stopping: Callable[[], bool] | None = None
    tell: Callable[[str], None] = _silently


class Patience:
    """Counts the tries that did not reach the board, and makes the pauses between them."""

    def __init__(self, transport: Transport, sleep: Callable[[float], None]) -> None:
        self.transport = _Counting(transport, self)
        self.persistence = Persistence()
        self._sleep = sleep
        #: Whether a command could ever be started there.
        self.ever_reached = False
        self._missed = 0
        self._told = False

    def wait(self, breaks: int, error: LinkError) -> int:
        """Wait before a call is tried again; raises `error` once it was tried often enough.

        `breaks` is how often the call was broken off by a board that was reached; returns it as it is now.
        """
        away = self._missed > 0
        number = self._missed - 1 if away else breaks
        pauses = self._pauses if away else RECONNECT_PAUSES_S
        if number >= len(pauses):
            raise error
        pause_s = pauses[number]
        if away and pause_s >= _TOLD_FROM_S and not self._told:
            self._told = True
            self.persistence.tell(f"{error.message}; trying again for some {sum(pauses) / 60:.0f} minutes")
        self._rest(pause_s, error)
        return breaks if away else breaks + 1

    def reached(self) -> None:
        """A command could be started: the board is there."""
        if self._told:
            self.persistence.tell(f"{self.transport.name}: answers again")
        self.ever_reached, self._missed, self._told = True, 0, False

    def missed(self) -> None:
        """No command could be started."""
        self._missed += 1

    @property
    def _pauses(self) -> Sequence[float]:
        return AWAY_PAUSES_S if self.ever_reached else FIRST_PAUSES_S

    def _rest(self, pause_s: float, error: LinkError) -> None:
        stopping = self.persistence.stopping
        while stopping is not None and pause_s > _NAP_S:
            if stopping():
                raise error
            self._sleep(_NAP_S)
            pause_s -= _NAP_S
        self._sleep(pause_s)


class _Counting:
    """A Transport that tells whether its board was reached."""

    def __init__(self, inner: Transport, patience: Patience) -> None:
        self.name = inner.name
        self._inner = inner
        self._patience = patience

    def start(self, command: Sequence[str]) -> Channel:
        try:
            channel = self._inner.start(command)
        except LinkError:
            self._patience.missed()
            raise
        self._patience.reached()
        return channel

    def close(self) -> None:
        self._inner.close()
