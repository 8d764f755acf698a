"""What damaged lines and files are given to: the harness from the link to the report, and the agent."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console

from device_agents import journal
from device_agents.protocol import BlobRef, ProbeReply, ProtocolError, RuntimeStatus
from harness.benchmark import CaseOutcome, CaseRequest, run_case
from harness.board_options import BoardOptions
from harness.campaign import describe
from harness.commands import console, device_check, progress_display, results_table
from harness.errors import BenchError, CaseError
from harness.farm.doctor.diagnosis import diagnose
from harness.farm.inventory import DeviceEntry
from harness.link.deployment import Blob
from harness.link.device_session import DeviceSession
from harness.negotiation import negotiate
from harness.records.board_expectations import differences, profile_of
from harness.records.case_records import failure_record
from profiles.devices import device_profile
from profiles.measurement import measurement_profile
from reports.csv_export import write_csv
from reports.html.page import render
from reports.record import Case, Record, Results, Run, record_from_json, to_json
from tests.fuzzing.material import Material, workload
from tests.fuzzing.mutations import endless, mutated_file, mutated_line, mutated_lines
from tests.harness.channels import PlayedChannel, PlayedTransport

RUN = Run("20261121-220000-abcd", "2026-11-21T22:00:00Z", "0.1.0", ("bench", "run"))
CASES = tuple(
    Case("pi", "net", runtime, precision)
    for runtime in ("onnxruntime", "tensorrt", "tflite")
    for precision in ("fp32", "int8")
)

#: A follower looks this often at a journal nobody writes to before it has to have come to an end.
PATIENCE = 50

Answer = Callable[[list[str]], PlayedChannel]


class Endless(Exception):
    """A follower that would never have come to an end."""


class _Silent:
    """An observer that takes everything."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def session_with(answer: Answer) -> DeviceSession:
    """A conversation with a board that plays back, without pauses."""
    return DeviceSession(PlayedTransport(answer), python="python3", workspace="/w", sleep=lambda _s: None)


def heard_of_job(rng: random.Random, material: Material, folder: Path, pictures: bool) -> int:
    """A whole case: journal and result files as a damaged board gives them; returns the faulty lines."""
    lines, faults = mutated_lines(rng, material.journal, rng.choice((1, 1, 1, 2, 4)))
    files = dict(material.files)
    if rng.random() < 0.3:
        lines, files = _with_damaged_file(rng, lines, files)
    submitted = material.submitted
    if rng.random() < 0.02:
        submitted, faults = mutated_line(rng, submitted), faults + 1
    told = b"".join(lines)

    def answer(command: list[str]) -> PlayedChannel:
        if command[4] == "follow":
            return PlayedChannel([told[int(command[-1]) :]])
        if command[4] == "get":
            return PlayedChannel([b"".join(files.get(name, b"") for name in command[7:])[int(command[6]) :]])
        return PlayedChannel([submitted])

    case = rng.choice(CASES)
    # Raspberry Pi 5 has references, so that remarks are made as well.
    profile = device_profile(rng.choice(("raspberry-pi-5", "jetson-nano", "generic-linux")))
    request = CaseRequest(
        case, workload(), measurement_profile("quick"), "job-1", 0.0, BoardOptions(), profile
    )
    samples: Any = {}
    try:
        with mock.patch("tempfile.tempdir", str(folder)):
            measured = run_case(session_with(answer), request, _Silent(), lambda: False)
            outcome = measured if isinstance(measured, CaseOutcome) else measured.outcome()
        record, samples = outcome.record, outcome.samples
    except CaseError as error:
        record = failure_record(case, error, request.workload)
    shown(record, samples, folder, pictures)
    return faults


def _with_damaged_file(
    rng: random.Random, lines: list[bytes], files: dict[str, bytes]
) -> tuple[list[bytes], dict[str, bytes]]:
    """A damaged result file, announced with its own size and hash: nothing but its content is wrong."""
    name = rng.choice(sorted(files))
    content = mutated_file(rng, files[name])
    old, new = (BlobRef(hashlib.sha256(c).hexdigest(), len(c), name) for c in (files[name], content))
    named = json.dumps(name).encode()
    lines = [
        line.replace(old.sha256.encode(), new.sha256.encode()).replace(
            b'"bytes":%d' % old.bytes, b'"bytes":%d' % new.bytes
        )
        if named in line
        else line
        for line in lines
    ]
    return lines, files | {name: content}


def shown(record: Record, samples: Any, folder: Path, pictures: bool) -> None:
    """Kept, read back, and put into every form that a person or a script is given."""
    content = json.dumps(to_json(record), allow_nan=False)
    assert record_from_json(json.loads(content)) == record
    results = Results(RUN, (record,))
    terminal = Console(file=io.StringIO(), width=100, soft_wrap=True, highlight=False)
    with mock.patch.object(console, "out", terminal), mock.patch.object(console, "err", terminal):
        progress_display.ProgressDisplay(1).case_finished(record)
        if pictures:
            results_table.show_results(results)
    if pictures:
        write_csv(results, folder / "results.csv")
        render(results, {0: samples})


def heard_of_board(rng: random.Random, material: Material) -> int:
    """A board that introduces itself: probe and examination, and all that is concluded from them."""
    which_board = rng.randrange(len(material.probes))
    probe_line, examination_line = material.probes[which_board], material.examinations[which_board]
    which = rng.random()
    if which < 0.6:
        probe_line = mutated_line(rng, probe_line)
    else:
        examination_line = mutated_line(rng, examination_line)

    def answer(command: list[str]) -> PlayedChannel:
        return PlayedChannel([examination_line if command[4] == "examine" else probe_line])

    try:
        session = session_with(answer)
        probe = session.open(["null"])
        describe(probe)
        claimed = device_profile("jetson-nano")
        profile_of(claimed, probe.facts)
        differences(claimed, probe.facts, probe.runtimes)
        _negotiated(rng, probe)
        examined = session.examine()
        _examined(probe, examined)
    except BenchError:
        pass
    return 1


def _negotiated(rng: random.Random, probe: ProbeReply) -> None:
    """Every runtime's status, its version and details being what the board's text is."""
    texts = [text for text in (probe.facts.board, probe.facts.os, probe.workspace) if text]
    for case in CASES:
        version = rng.choice([*texts, "1.19.2"])
        details = {"max_opset": rng.choice([*texts, "13"]), "precision_by": "flag"}
        status = RuntimeStatus(case.runtime, True, version, None, None, details)
        try:
            negotiate(case, status, BoardOptions())
        except CaseError:
            continue


def _examined(probe: ProbeReply, examined: Any) -> None:
    entry = DeviceEntry("pi", "raspberry-pi-5", host="10.0.0.1")
    patient = device_check._patient(entry, probe, examined, 0.0)
    terminal = Console(file=io.StringIO(), width=100, soft_wrap=True, highlight=False)
    with mock.patch.object(console, "out", terminal):
        findings = diagnose(patient)
        device_check._show("pi", probe)
        device_check._show_findings(findings)
        json.dumps(device_check._plain(probe, examined, findings), allow_nan=False)


def heard_while_sending(rng: random.Random, material: Material, folder: Path) -> int:
    """A board that takes a file."""
    path = folder / "blob"
    path.write_bytes(b"blob")
    blob = Blob("f" * 64, 4, path, "blob")
    first, last = material.put
    if rng.random() < 0.5:
        first = mutated_line(rng, first)
    else:
        last = mutated_line(rng, last)
    with contextlib.suppress(BenchError):
        session_with(lambda _command: PlayedChannel([first, last])).send(blob)
    return 1


def followed_journal(rng: random.Random, material: Material, folder: Path) -> int:
    """A damaged journal file: through the agent's follower, and what that gives through the host's."""
    damaged = b"".join(mutated_lines(rng, material.journal, rng.choice((0, 1, 3)))[0])
    if rng.random() < 0.8:
        damaged = mutated_file(rng, damaged)
    path = folder / "journal.jsonl"
    path.write_bytes(damaged)
    offset = rng.choice((0, 0, rng.randrange(len(damaged) + 1), len(damaged) + 7))
    told: list[bytes] = []
    try:
        for piece in journal.follow(str(folder), offset, _impatient()):
            told.append(piece)
            if len(told) > PATIENCE + len(damaged) // 1000:
                raise Endless(f"{len(told)} pieces of a journal of {len(damaged)} bytes")
    except ProtocolError:
        pass  # what the controller is told as a failed command
    with contextlib.suppress(BenchError):
        list(session_with(lambda c: PlayedChannel([b"".join(told)[int(c[-1]) :]])).follow("job-1"))
    return 1


def _impatient() -> Callable[[float], None]:
    looks = iter(range(PATIENCE))

    def sleep(_seconds: float) -> None:
        if next(looks, None) is None:
            raise Endless("the follower waits for something that nobody will write")

    return sleep


def one_conversation(rng: random.Random, material: Material, pictures: bool) -> int:
    """One case of what a damaged board says; returns how many faulty lines it had."""
    with tempfile.TemporaryDirectory(prefix="edgebench-fuzz-") as folder:
        which = rng.random()
        if which < 0.15:
            return heard_of_board(rng, material)
        if which < 0.2:
            return heard_while_sending(rng, material, Path(folder))
        return heard_of_job(rng, material, Path(folder), pictures)


def one_journal(rng: random.Random, material: Material) -> int:
    """One damaged journal file."""
    with tempfile.TemporaryDirectory(prefix="edgebench-fuzz-") as folder:
        return followed_journal(rng, material, Path(folder))


def generator_of(seed: int, kind: str, number: int) -> random.Random:
    """The generator of one case, so that a finding can be had again alone."""
    return random.Random(f"{seed}/{kind}/{number}")


def long_lines(sizes: Sequence[int]) -> None:
    """A line without end, of each size, to every reader; AssertionError where one takes it for a message."""
    readers: tuple[Callable[[DeviceSession], object], ...] = (
        lambda session: session.open(["null"]),
        lambda session: session.examine(),
        lambda session: list(session.follow("job-1")),
    )
    for size in sizes:
        for read in readers:
            session = session_with(lambda _command, size=size: PlayedChannel(endless(b"x", size)))  # type: ignore[misc]
            try:
                read(session)
            except BenchError:
                continue
            raise AssertionError(f"{size} bytes without a newline were taken for a message")
