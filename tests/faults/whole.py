"""What has to hold after a run, whatever happened to its link and its controller."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.faults.struck_runs import StruckRun, becomes_empty

#: A follower that lost its reader ends when it writes, or with its job.
_LEAVING_S = 15.0


@dataclass(frozen=True)
class Told:
    """What a run says that no fault may change, by precision."""

    cases: dict[str, dict[str, Any]]


def told(run: StruckRun) -> Told:
    """Accuracy, counts and fidelity of each case in results.json."""
    cases = {}
    for record in json.loads((run.folder / "out/results.json").read_text())["records"]:
        cases[record["case"]["precision"]] = {
            "status": record["status"],
            "accuracy": record["accuracy"],
            "fidelity": record["fidelity"],
            "latencies": (record["latency_ms"] or {}).get("count"),
            "computes": (record["compute_ms"] or {}).get("count"),
            "repetitions": len(record["repetitions"]),
            "artifact": record["artifact"] and record["artifact"]["sha256"],
        }
    return Told(cases)


def violations(run: StruckRun, status: int | None, expected: Told) -> list[str]:
    """Everything that is not as after an undisturbed run, in words; empty if all is."""
    if status != 0:
        said = run.said.read_text("utf-8", "replace")[-1500:] if run.said.exists() else ""
        return [f"it ended with status {status}: {said}"]
    return [
        *_of_results(run, expected),
        *_of_database(run),
        *_of_jobs(run),
        *_of_board(run),
        *_of_host(run),
    ]


def _of_results(run: StruckRun, expected: Told) -> list[str]:
    found: list[str] = []
    said = run.said.read_text("utf-8", "replace")
    if "Traceback" in said:
        found.append(f"a traceback: {said[-1500:]}")
    if not (run.folder / "out/report.html").read_text().rstrip().endswith("</html>"):
        found.append("the report is not whole")
    now = told(run)
    for precision in sorted({*expected.cases, *now.cases}):
        if now.cases.get(precision) != expected.cases.get(precision):
            found.append(
                f"{precision}: {now.cases.get(precision)} instead of {expected.cases.get(precision)}"
            )
    return found


def _of_database(run: StruckRun) -> list[str]:
    found: list[str] = []
    runs = run.runs()
    if len(runs) != 1:
        found.append(f"{len(runs)} runs in the database instead of one")
    if not runs or not runs[0][0]:
        found.append("the run is not called finished")
    counts = Counter(record.case.precision for _, records in runs for record in records)
    found += [f"{precision} has {count} records" for precision, count in counts.items() if count != 1]
    attempts = [f"{r.case.precision}: {a.failure.message}" for _, rs in runs for r in rs for a in r.attempts]
    found += [f"an attempt was needed: {words}" for words in attempts]
    verified = run.place.bench("verify", "latest")
    if verified.status != 0:
        found.append(f"bench verify: {verified.err}{verified.out}")
    return found


def _of_jobs(run: StruckRun) -> list[str]:
    """Each case was measured once on the board: one job, which ended well."""
    found: list[str] = []
    ends: dict[str, list[str]] = {}
    for job_id, (precision, events) in run.board.jobs(run.number).items():
        outcome = str(events[-1].get("outcome")) if events and events[-1]["type"] == "ended" else "no end"
        ends.setdefault(precision, []).append(outcome)
        started = sum(event["type"] == "started" for event in events)
        if started != 1:
            found.append(f"job {job_id} was started {started} times")
    cases = {record.case.precision for _, records in run.runs() for record in records}
    for precision in cases:
        if ends.get(precision) != ["ok"]:
            found.append(f"{precision}: jobs on the board ended {ends.get(precision)}")
    return found


def _of_board(run: StruckRun) -> list[str]:
    """Nothing of ours runs there, holds it or lies about, and it is set as it was."""
    board, number = run.board, run.number
    run.link.hang_up()
    found = []
    if left := becomes_empty(lambda: board.processes(number), _LEAVING_S):
        found.append(f"processes on the board: {left}")
    if board.is_held(number):
        found.append("the board's lock is held")
    if (board.seen(number) / "performance.json").exists():
        found.append("a lease of performance mode is open")
    settings = board.settings()
    changed = {path for path in {*settings, *run.before} if settings.get(path) != run.before.get(path)}
    if changed:
        found.append(f"settings changed: { {path: settings.get(path) for path in sorted(changed)} }")
    parts = [str(path.relative_to(board.seen(number))) for path in board.seen(number).rglob("*.part")]
    if parts:
        found.append(f"half files on the board: {parts}")
    return found


def _of_host(run: StruckRun) -> list[str]:
    found = []
    if left := becomes_empty(run.host_processes, _LEAVING_S):
        found.append(f"processes on this host: {left}")
    # What a killed controller left is removed by the next that needs such a place itself: here each does, but
    # a resumed run that has nothing to convert any more makes no cache entries.
    temporary = sorted(path.name for path in run.temporary.iterdir())
    if temporary:
        found.append(f"temporary files on this host: {temporary}")
    parts = sorted(path.name for path in (run.folder / "out").iterdir() if path.name.startswith("."))
    if parts:
        found.append(f"half files beside the report: {parts}")
    if run.cache.is_relative_to(run.folder):
        building = sorted(path.name for path in run.cache.rglob(".building-*"))
        if building:
            found.append(f"half entries in the cache: {building}")
    return found
