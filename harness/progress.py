"""What a campaign tells while it runs; commands show it, tests collect it."""

from __future__ import annotations

from typing import Protocol

from reports.record import Case, Record


class Observer(Protocol):
    """Told of everything a person would want to see. Called from several threads."""

    def preparing(self, what: str) -> None:
        """An artifact or a reference is being made on this host."""

    def note(self, text: str) -> None:
        """Something the user should know, said once."""

    def device_ready(self, device: str, description: str) -> None:
        """The agent on a board has answered."""

    def sending(self, device: str, name: str, done: int, total: int) -> None:
        """`done` of `total` bytes of a file are on the board."""

    def case_started(self, case: Case) -> None:
        """The case was handed to its board."""

    def waiting(self, device: str, holder: str, since: float) -> None:
        """Somebody else has the board, since then (unix seconds); told every few seconds."""

    def repetition_ended(self, case: Case, done: int, total: int) -> None:
        """A fresh process has finished its part."""

    def case_finished(self, record: Record) -> None:
        """The record is saved."""

    def retrying(self, case: Case, why: str) -> None:
        """An infrastructure failure; the case is tried again."""
