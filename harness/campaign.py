"""Runs the cases of a plan: boards beside each other, the cases of a board one after the other.

A board that is slow to answer, or never does, delays no other but `local`. One that cannot be reached fails
its own cases only.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from convert.held_folders import held_folder, scratch_folder
from device_agents.protocol import ProbeReply
from harness.background import started
from harness.board_cases import BoardCases, CampaignSettings, ReachedBoard, failure_of_board
from harness.board_lease import BoardLease, holder_words, kept
from harness.case_preparation import CasePreparation, ReadyCase
from harness.errors import BenchError
from harness.farm.inventory import LOCAL
from harness.link.device_session import DeviceSession
from harness.link.patience import Persistence
from harness.open_files import allow_open_files
from harness.plan import PlannedCase
from harness.preparation import Preparation
from harness.progress import Observer
from harness.records.board_expectations import differences, profile_of
from harness.records.case_records import failure_record
from harness.store import Samples, Store, case_key
from reports.record import Record

__all__ = ["Campaign", "CampaignSettings", "describe"]

OpenSession = Callable[[str], DeviceSession]

#: The cases of each board.
_Todo = dict[str, list[PlannedCase]]


class Campaign:
    """One run over its boards."""

    def __init__(
        self,
        settings: CampaignSettings,
        store: Store,
        preparation: Preparation,
        open_session: OpenSession,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._store = store
        self._cases = CasePreparation(
            preparation, settings.options, observer, lambda record: self._save(record, {})
        )
        self._open_session = open_session
        self._observer = observer
        self._stop = threading.Event()
        self._board_cases = BoardCases(settings, observer, self._save, self._stop)
        #: Where result files are until their record is made.
        self._scratch = scratch_folder()
        #: Called when a board is about to be measured: from then on its jobs keep its lease.
        self._end_keeping: Callable[[str], None] = lambda _device: None

    def run(self, planned: Sequence[PlannedCase], finished: frozenset[str]) -> bool:
        """Measure every case but those whose key is in `finished`; False if it was interrupted.

        Each board is asked what it is, which decides what is converted for it; once it has answered it is
        prepared for and measured. Only `local` waits until everything is prepared for the others too:
        converting beside a measurement on the same machine would spoil it.
        """
        todo: _Todo = {}
        for item in planned:
            if case_key(item.case) not in finished:
                todo.setdefault(item.case.device, []).append(item)
        too_few = allow_open_files(len(todo))
        if too_few is not None:
            self._observer.note(too_few)
        running: list[Future[Any]] = []
        claimed = {device: functools.partial(self._open_session, device) for device in self._settings.claimed}
        try:
            with kept(claimed) as self._end_keeping, _results_folder() as self._scratch:
                self._run_boards(todo, running)
        except KeyboardInterrupt:
            return False
        for future in running:
            future.result()
        return not self._stop.is_set()

    def _run_boards(self, todo: _Todo, running: list[Future[Any]]) -> None:
        """Start all and wait for what is `running`; Ctrl-C asks it to stop, a second one ends the wait."""
        try:
            self._start_boards(todo, running)
            _await(running)
        except KeyboardInterrupt:
            self._stop.set()
            if not all(future.done() for future in running):
                self._observer.note("stopping: what is finished is kept (Ctrl-C again to leave at once)")
            _await(running)
        except BaseException:
            self._stop.set()
            _await(running)
            raise

    def _start_boards(self, todo: _Todo, running: list[Future[Any]]) -> None:
        """Prepare for each board as it answers, on this thread, and measure it on one of its own."""
        opening = {
            started(functools.partial(self._open_board, device, items)): device
            for device, items in todo.items()
        }
        all_prepared = threading.Event()
        try:
            while opening:
                answered = wait(opening, timeout=0.5, return_when=FIRST_COMPLETED).done
                for future in [each for each in opening if each in answered]:
                    device = opening.pop(future)
                    board = None if future.exception() else future.result()
                    if board is None:
                        running.append(future)  # which tells of an error nobody expected
                        continue
                    ready = self._prepared(todo[device], board)
                    begin = all_prepared if device == LOCAL else None
                    started(functools.partial(self._run_device, board, ready, begin), running)
        except BaseException:
            self._stop.set()
            raise
        finally:
            all_prepared.set()
            for future in opening:  # a board that answers now is not needed any more
                future.add_done_callback(_let_go)

    def _open_board(self, device: str, cases: Sequence[PlannedCase]) -> ReachedBoard | None:
        """The board, if it answers; else its cases get their record here."""
        session = None
        try:
            session = self._open_session(device)
            persistence = Persistence(self._stop.is_set, self._observer.note)
            probe = session.open(sorted({item.case.runtime for item in cases}), persistence)
        except BenchError as error:
            if session is not None:
                session.close()
            for item in cases if not self._stop.is_set() else ():
                self._save(failure_record(item.case, failure_of_board(device, error)), {})
            return None
        self._observer.device_ready(device, describe(probe))
        profile = profile_of(self._settings.profiles.get(device), probe.facts)
        for sentence in differences(self._settings.profiles.get(device), probe.facts, probe.runtimes):
            self._observer.note(f"{device}: {sentence}")
        lease = BoardLease(
            session,
            holder_words(f"run {self._settings.run_id}"),
            self._settings.lock_wait_s,
            functools.partial(self._observer.waiting, device),
            self._stop.is_set,
            held=device in self._settings.claimed,
            is_gone=self._settings.is_gone,
        )
        return ReachedBoard(session, lease, {status.name: status for status in probe.runtimes}, profile)

    def _prepared(self, cases: Sequence[PlannedCase], board: ReachedBoard) -> list[ReadyCase]:
        """What the board is given for its cases; if that cannot be known, it is let go."""
        try:
            return self._cases.of_board(cases, board.runtimes, self._stop.is_set)
        except BaseException:
            board.let_go()
            raise

    def _run_device(
        self, board: ReachedBoard, ready: Sequence[ReadyCase], begin: threading.Event | None
    ) -> None:
        if begin is not None:
            begin.wait()
        self._end_keeping(board.session.device)
        self._board_cases.run(board, ready, self._scratch)

    # --- records ----------------------------------------------------------------------------------

    def _save(self, record: Record, samples: Samples) -> None:
        self._store.save(self._settings.run_id, record, samples)
        self._observer.case_finished(record)


def _results_folder() -> AbstractContextManager[Path]:
    """One for the whole run, which goes with its process: looking for what others left takes time."""
    return held_folder(scratch_folder(), "edgebench-results-")


def _await(running: Sequence[Future[Any]]) -> None:
    """Until all have ended; in short waits: a signal that another thread takes does not wake a long one."""
    while wait(running, timeout=0.5).not_done:
        pass


def _let_go(answered: Future[ReachedBoard | None]) -> None:
    board = None if answered.exception() else answered.result()
    if board is not None:
        board.let_go()


def describe(probe: ProbeReply) -> str:
    """A board in one line."""
    facts = probe.facts
    words = [facts.board, facts.cpu_model, f"{facts.cpu_count} cores" if facts.cpu_count else None, facts.os]
    return ", ".join(word for word in words if word)
