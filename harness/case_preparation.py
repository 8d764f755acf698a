"""What each case of a board needs, made once for all boards; cases that cannot be get their record here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from device_agents.protocol import RuntimeStatus
from harness.board_options import BoardOptions
from harness.errors import CaseError, PrecisionUnsupported, RuntimeUnavailable
from harness.negotiation import ArtifactForm, negotiate
from harness.plan import PlannedCase
from harness.preparation import Preparation, Workload
from harness.progress import Observer
from harness.records.case_records import failure_record, unsupported_record
from reports.record import Case, Record

#: Reasons that say: this precision is not to be had for this model.
_PRECISION_REASONS = frozenset({"calibration_required", "already_quantized", "precision_not_reached"})

#: A case that is to be measured, with what its board is given.
ReadyCase = tuple[PlannedCase, Workload]


class CasePreparation:
    """Prepares the cases of one board after the other; what several boards share is made once."""

    def __init__(
        self,
        preparation: Preparation,
        options: BoardOptions,
        observer: Observer,
        save: Callable[[Record], None],
    ) -> None:
        self._preparation = preparation
        self._options = options
        self._observer = observer
        self._save = save
        self._made: dict[object, Workload | CaseError] = {}
        self._noted: set[str] = set()

    def of_board(
        self,
        cases: Sequence[PlannedCase],
        runtimes: Mapping[str, RuntimeStatus],
        stopping: Callable[[], bool],
    ) -> list[ReadyCase]:
        """The workloads of a board's cases, in their order; fewer once `stopping` says so."""
        ready: list[ReadyCase] = []
        for item in cases:
            if stopping():
                break
            outcome = self._of_case(item, runtimes.get(item.case.runtime))
            if isinstance(outcome, Record):
                self._save(outcome)
            else:
                self._tell(outcome.notes)
                ready.append((item, outcome))
        return ready

    def _of_case(self, item: PlannedCase, state: RuntimeStatus | None) -> Workload | Record:
        case = item.case
        if state is None or not state.available:
            return _without_runtime(item, state)
        try:
            form = negotiate(case, state, self._options)
        except PrecisionUnsupported as error:
            return _unsupported(case, error)
        key = (case.model, case.runtime, case.batch_size, form.key)
        if key not in self._made:
            self._observer.preparing(f"{case.model} for {case.runtime} at {case.precision}")
            self._made[key] = self._workload(item, form)
        outcome = self._made[key]
        return outcome if isinstance(outcome, Workload) else _unprepared(item, outcome)

    def _workload(self, item: PlannedCase, form: ArtifactForm) -> Workload | CaseError:
        try:
            return self._preparation.workload(item.model, item.case.runtime, form, item.case.batch_size)
        except CaseError as error:
            return error

    def _tell(self, notes: Sequence[str]) -> None:
        for note in notes:
            if note not in self._noted:
                self._noted.add(note)
                self._observer.note(note)


def _unprepared(item: PlannedCase, error: CaseError) -> Record:
    """What nobody asked for by name and cannot be is `unsupported`; what was asked for has failed."""
    wanted = item.precision_asked if error.reason in _PRECISION_REASONS else True
    if wanted:
        return failure_record(item.case, error)
    return _unsupported(item.case, error)


def _unsupported(case: Case, error: CaseError) -> Record:
    return unsupported_record(case, error.reason, error.message, error.remedy, error.failure_class)


def _without_runtime(item: PlannedCase, state: RuntimeStatus | None) -> Record:
    why = state.reason if state is not None and state.reason else "the agent does not know it"
    message = f"{item.case.device}: {item.case.runtime} does not work there: {why}"
    remedy = f"`bench device check {item.case.device}` says what is missing and the command that mends it"
    error = RuntimeUnavailable(message, remedy)
    if item.runtime_asked:
        return failure_record(item.case, error)
    return _unsupported(item.case, error)
