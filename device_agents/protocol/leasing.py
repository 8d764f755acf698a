"""Answers about the lease: which run has a board for all of its cases."""

from typing import NamedTuple, Optional


class LeaseReply(NamedTuple):
    """Answer to `lease`, `renew`, `release` and `evict`.

    `lease` says `waiting` every few seconds, then `granted` or `refused`, and `renew` one of these two;
    `release` and `evict` say `released` or `free`, and `evict` says `running` where a job has to end first.
    """

    state: str
    #: Who has the board, or had it until now, in words for people, and for how many seconds: a board's clock
    #: is wrong often enough that the controller had better count back from its own.
    holder: Optional[str] = None
    held_s: Optional[float] = None
    #: The job that is running on the board.
    job: Optional[str] = None
    #: Whose lease it is, as the run names itself.
    lease: Optional[str] = None
