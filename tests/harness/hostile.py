"""Boards that answer as they please, in a campaign beside one that is in order; no process is run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device_agents.protocol import (
    PROTOCOL_VERSION,
    BlobRef,
    DeviceFacts,
    Event,
    JobEnded,
    OutputsSaved,
    ProbeReply,
    RepetitionEnded,
    RepetitionStarted,
    RuntimeStatus,
    SamplesTaken,
    SubmitReply,
    encode,
)
from harness.campaign import Campaign, CampaignSettings
from harness.link.device_session import DeviceSession
from harness.models import BenchModel
from harness.negotiation import ArtifactForm
from harness.plan import PlannedCase
from harness.preparation import Preparation, Workload
from harness.store import Store
from profiles.measurement import measurement_profile
from reports.record import Case, Record
from tests.fuzzing.material import SCORES, workload
from tests.harness.channels import Piece, PlayedChannel, PlayedTransport
from tests.harness.events import FACTS, beginning, loaded
from tests.harness.played_boards import RUN

MS = 1_000_000
SAMPLES = np.array([MS] * 3 + [2 * MS] * 40, dtype="<i8").tobytes()  # 3 to warm up, then 20 and 20


def npz(*arrays: Any) -> bytes:
    """Outputs as numpy saves them."""
    content = io.BytesIO()
    np.savez_compressed(content, **{f"array_{i}": array for i, array in enumerate(arrays)})
    return content.getvalue()


def announced(name: str, content: bytes) -> BlobRef:
    """A file by what it really is."""
    return BlobRef(hashlib.sha256(content).hexdigest(), len(content), name)


@dataclass
class PlayedBoard:
    """A board whose every answer can be changed; without changes its case goes well."""

    facts: DeviceFacts = FACTS
    files: dict[str, bytes] = field(default_factory=dict)
    #: Answers by the agent's command, in place of the right ones.
    answers: dict[str, Callable[[], Iterable[Piece]]] = field(default_factory=dict)
    transport: PlayedTransport | None = None

    def __post_init__(self) -> None:
        """The result files of a job of two repetitions."""
        self.files |= {f"samples-{repetition}.i64": SAMPLES for repetition in range(2)}
        self.files |= {name: npz(SCORES) for name in ("check-0.npz", "evaluation-0.npz")}

    def events(self) -> list[Event]:
        """What its job tells."""
        told: list[Event] = [*beginning(), loaded()]
        for repetition in range(2):
            told += [self.samples(repetition), RepetitionEnded(3.0, repetition, "ok", None, None)]
            told += [RepetitionStarted(3.0, 1, 102)] if repetition == 0 else []
        told += [self.outputs("check"), self.outputs("evaluation")]
        return [*told, JobEnded(3.0, "ok", None, None, None)]

    def samples(self, repetition: int) -> SamplesTaken:
        """A timed loop and its file."""
        name = f"samples-{repetition}.i64"
        file = announced(name, self.files[name])
        return SamplesTaken(repetition, file, 3, 20, 0.1, 0.2, 0.2, 0.0, None, "precision")

    def outputs(self, purpose: str) -> OutputsSaved:
        """Outputs and their file."""
        name = f"{purpose}-0.npz"
        return OutputsSaved(0, purpose, announced(name, self.files[name]), len(SCORES))

    def tells(self, *events: Event) -> PlayedBoard:
        """The same board with another journal."""
        self.answers["follow"] = lambda: [encode(event) for event in events]
        return self

    def tells_instead(self, old: type, **changes: Any) -> PlayedBoard:
        """The same board, with the first event of a type changed."""
        events = self.events()
        at = next(i for i, event in enumerate(events) if isinstance(event, old))
        events[at] = events[at]._replace(**changes)
        return self.tells(*events)

    def answer(self, command: list[str]) -> PlayedChannel:
        """What it says to a command of the agent."""
        verb = command[4]
        if verb in self.answers:
            pieces = self.answers[verb]()
        elif verb == "probe":
            status = RuntimeStatus("onnxruntime", True, "1.23.2", None, None, {})
            pieces = [encode(ProbeReply(PROTOCOL_VERSION, self.facts, [status], "/w", None, None, None))]
        elif verb == "follow":
            pieces = [b"".join(encode(event) for event in self.events())[int(command[-1]) :]]
        elif verb == "get":
            pieces = [b"".join(self.files.get(name, b"") for name in command[7:])[int(command[6]) :]]
        else:
            pieces = [encode(SubmitReply("accepted", "job", []))]
        return PlayedChannel(pieces)

    def session(self, name: str) -> DeviceSession:
        """A conversation with it, without pauses."""
        self.transport = PlayedTransport(self.answer, name)
        return DeviceSession(self.transport, python="python3", workspace="/w", sleep=lambda _s: None)


class _Prepared(Preparation):
    """Makes the workload that a played board's outputs are judged by."""

    def __init__(self) -> None:
        pass

    def workload(
        self, model: BenchModel | None, runtime: str, form: ArtifactForm, batch_size: int
    ) -> Workload:
        return workload()


class Silent:
    """An observer that takes everything."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def measured(store: Store, boards: dict[str, PlayedBoard]) -> dict[str, Record]:
    """One case on each of the boards, all of them at once; the records by board."""
    settings = CampaignSettings(RUN.id, measurement_profile("quick"), 0.0)
    cases = [
        PlannedCase(Case(name, "net", "onnxruntime", "fp32"), None, runtime_asked=True, precision_asked=True)
        for name in boards
    ]
    campaign = Campaign(settings, store, _Prepared(), lambda name: boards[name].session(name), Silent())
    assert campaign.run(cases, frozenset())
    return {record.case.device: record for record in store.results(RUN.id).records}
