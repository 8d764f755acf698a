"""The result database: runs, their records and the raw samples every figure can be recomputed from.

SQLite by default, PostgreSQL by URL; the same code. A record and its samples are written in one
transaction the moment they are complete, those of other boards at that moment with them, so a killed
controller loses nothing that was finished.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Boolean,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    create_engine,
    delete,
    event,
    select,
)
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from harness.batches import Batches
from harness.errors import StoreError
from reports.record import Case, Record, Results, Run, record_from_json, to_json

DEFAULT_PATH = Path("bench-results") / "bench.sqlite"

#: Raw nanoseconds by series (`warmup`, `latency`, `compute`), one array per repetition.
Samples = Mapping[str, Sequence[NDArray[np.int64]]]


class _Base(DeclarativeBase):
    pass


class _RunRow(_Base):
    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    started_at: Mapped[str] = mapped_column(String(32), index=True)
    finished_at: Mapped[str | None] = mapped_column(String(32))
    harness_version: Mapped[str] = mapped_column(String(32))
    command: Mapped[str] = mapped_column(Text)
    #: What the run was to measure; `--resume` goes on with the latest run of the same plan.
    plan_digest: Mapped[str] = mapped_column(String(64), index=True)
    interrupted: Mapped[bool] = mapped_column(Boolean, default=False)


#: Times are whole seconds; ids that began in the same one sort as they began.
_LATEST_BY_TIME = (_RunRow.started_at.desc(), _RunRow.id.desc())

#: SQLite numbers rows as they come, and its owner's clock may have gone back between two runs.
_LATEST_BY_ROW = (sql("runs.rowid DESC"),)


class _RecordRow(_Base):
    __tablename__ = "records"
    __table_args__ = (UniqueConstraint("run_id", "case_key"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    case_key: Mapped[str] = mapped_column(Text)
    device: Mapped[str] = mapped_column(String(80), index=True)
    model: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text)


class _SamplesRow(_Base):
    __tablename__ = "samples"

    record_id: Mapped[int] = mapped_column(ForeignKey("records.id"), primary_key=True)
    series: Mapped[str] = mapped_column(String(16), primary_key=True)
    repetition: Mapped[int] = mapped_column(Integer, primary_key=True)
    #: zlib of little-endian int64 nanoseconds, each but the first as the difference to its predecessor.
    content: Mapped[bytes] = mapped_column(LargeBinary)


@dataclass(frozen=True)
class _Save:
    """A record on its way into the database."""

    run_id: str
    record: Record
    content: str
    #: Packed samples by series and repetition.
    samples: Mapping[tuple[str, int], bytes]


class Store:
    """An open result database. Safe to use from several threads."""

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine = engine
        self.place = place
        # SQLite lets one write, and whoever waits for it there sleeps and may starve; 200 boards that end
        # their cases at once would also wait in vain for one of the pool's connections.
        self._turn = threading.Lock()
        self._saves = Batches(self._write)

    @classmethod
    def open(cls, location: str | Path, *, create: bool = True) -> Store:
        """The database at a path (made if missing, unless `create` is false) or URL; raises StoreError."""
        text = str(location)
        if not create and "://" not in text and not Path(text).exists():
            raise StoreError(
                f"there is no result database {text}",
                "measure something first (`bench run`), or say where one is with --store",
            )
        engine = None
        try:
            if "://" not in text:
                Path(text).parent.mkdir(parents=True, exist_ok=True)
            # A path is no URL: it may hold a question mark or a percent sign.
            engine = create_engine(text if "://" in text else URL.create("sqlite", database=text))
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _sqlite_settings)
            _Base.metadata.create_all(engine)
        except (SQLAlchemyError, OSError, ModuleNotFoundError) as error:
            if engine is not None:
                engine.dispose()
            raise StoreError(
                f"cannot use the result database {text}: {_first_line(error)}",
                "give another place with --store, or make this one readable and writable",
            ) from error
        return cls(engine, text)

    def begin(self, run: Run, plan_digest: str) -> None:
        """Note that a run has begun."""
        with self._session() as session:
            session.add(
                _RunRow(
                    id=run.id,
                    started_at=run.started_at,
                    harness_version=run.harness_version,
                    command=json.dumps(run.command),
                    plan_digest=plan_digest,
                )
            )

    def finish(self, run_id: str, finished_at: str, *, interrupted: bool) -> None:
        """Note that a run has ended."""
        with self._session() as session:
            row = session.get_one(_RunRow, run_id)
            row.finished_at = finished_at
            row.interrupted = interrupted

    def forget(self, run_id: str) -> None:
        """Remove a run with everything that is kept of it."""
        with self._session() as session:
            own = select(_RecordRow.id).filter_by(run_id=run_id)
            session.execute(delete(_SamplesRow).where(_SamplesRow.record_id.in_(own)))
            session.execute(delete(_RecordRow).filter_by(run_id=run_id))
            session.execute(delete(_RunRow).filter_by(id=run_id))

    def save(self, run_id: str, record: Record, samples: Samples) -> None:
        """Keep a record and its samples, all or nothing; an earlier record of the same case is replaced."""
        packed = {
            (series, number): _packed(values)
            for series, repetitions in samples.items()
            for number, values in enumerate(repetitions)
        }
        # A commit waits for the disk, so boards that end their cases at once share one.
        self._saves.do(_Save(run_id, record, json.dumps(to_json(record)), packed))

    def _write(self, saves: Sequence[_Save]) -> None:
        with self._session() as session:
            for save in saves:
                _replace(session, save)

    def unfinished(self, plan_digest: str) -> Run | None:
        """The latest run of that plan, if it has not ended, ended interrupted, or lost a board on the way."""
        query = select(_RunRow).filter_by(plan_digest=plan_digest).order_by(*self._latest_first).limit(1)
        with self._session() as session:
            row = session.scalar(query)
            if row is None or not (row.finished_at is None or row.interrupted or _lost_a_board(session, row)):
                return None
            return _run(row)

    def reopen(self, run_id: str) -> None:
        """Note that a run goes on."""
        with self._session() as session:
            row = session.get_one(_RunRow, run_id)
            row.finished_at, row.interrupted = None, False

    @property
    def _latest_first(self) -> Sequence[Any]:
        return _LATEST_BY_ROW if self._engine.dialect.name == "sqlite" else _LATEST_BY_TIME

    def runs(self) -> tuple[Run, ...]:
        """All runs, the latest first."""
        with self._session() as session:
            return tuple(_run(row) for row in session.scalars(select(_RunRow).order_by(*self._latest_first)))

    def run(self, run_id: str) -> Run:
        """A run by its id, an unambiguous beginning of it, or `latest`."""
        runs = self.runs()
        found = runs[:1] if run_id == "latest" else tuple(run for run in runs if run.id.startswith(run_id))
        exact = tuple(run for run in found if run.id == run_id)
        if len(exact or found) != 1:
            words = "there is no run" if not found else f"{len(found)} runs are named"
            raise StoreError(
                f"{words} {run_id!r} in {self.place}",
                "`bench report --list` shows the runs" if runs else "measure something first: `bench run`",
            )
        return (exact or found)[0]

    def results(self, run_id: str) -> Results:
        """A run with all its records, in the order they were finished."""
        run = self.run(run_id)
        with self._session() as session:
            rows = session.scalars(select(_RecordRow).filter_by(run_id=run.id).order_by(_RecordRow.id))
            return Results(run, tuple(_record(row) for row in rows))

    def samples(self, run_id: str, case: Case) -> dict[str, list[NDArray[np.int64]]]:
        """The raw samples of a case: nanoseconds by series, one array per repetition."""
        query = (
            select(_SamplesRow)
            .join(_RecordRow, _RecordRow.id == _SamplesRow.record_id)
            .where(_RecordRow.run_id == run_id, _RecordRow.case_key == case_key(case))
            .order_by(_SamplesRow.series, _SamplesRow.repetition)
        )
        found: dict[str, list[NDArray[np.int64]]] = {}
        with self._session() as session:
            for row in session.scalars(query):
                found.setdefault(row.series, []).append(_unpacked(row.content))
        return found

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """One transaction; the library's errors become ours here."""
        try:
            with (
                self._turn,
                Session(self._engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session
        except (SQLAlchemyError, ValueError, zlib.error) as error:  # or a row's content is damaged
            raise StoreError(f"the result database {self.place} failed: {_first_line(error)}") from error


def _replace(session: Session, save: _Save) -> None:
    case, key = save.record.case, case_key(save.record.case)
    old = session.scalar(select(_RecordRow).filter_by(run_id=save.run_id, case_key=key))
    if old is not None:
        session.query(_SamplesRow).filter_by(record_id=old.id).delete()
        session.delete(old)
        session.flush()
    row = _RecordRow(
        run_id=save.run_id,
        case_key=key,
        device=case.device,
        model=case.model,
        status=save.record.status,
        content=save.content,
    )
    session.add(row)
    session.flush()
    for (series, number), content in save.samples.items():
        session.add(_SamplesRow(record_id=row.id, series=series, repetition=number, content=content))


def _lost_a_board(session: Session, run: _RunRow) -> bool:
    """Whether a case failed for its board or the way to it: the job may have ended well there."""
    failed = session.scalars(select(_RecordRow).filter_by(run_id=run.id, status="failed"))
    return any(lost_its_board(_record(row)) for row in failed)


def lost_its_board(record: Record) -> bool:
    """Whether the case failed for its board or the way to it, so that resuming the run tries it again."""
    return record.failure is not None and record.failure.class_ == "infrastructure"


def case_key(case: Case) -> str:
    """A case as one unambiguous word of its run."""
    return json.dumps(
        [case.device, case.model, case.runtime, case.precision, case.batch_size, case.num_threads]
    )


def _packed(values: NDArray[np.int64]) -> bytes:
    # Differences of neighbouring latencies are small numbers, which halves what zlib makes of them.
    return zlib.compress(np.diff(values, prepend=np.int64(0)).astype("<i8").tobytes(), 1)


def _unpacked(content: bytes) -> NDArray[np.int64]:
    return np.cumsum(np.frombuffer(zlib.decompress(content), dtype="<i8"), dtype=np.int64)


def _run(row: _RunRow) -> Run:
    return Run(
        id=row.id,
        started_at=row.started_at,
        harness_version=row.harness_version,
        command=tuple(json.loads(row.command)),
        finished_at=row.finished_at,
        interrupted=row.interrupted,
    )


def _record(row: _RecordRow) -> Record:
    return record_from_json(json.loads(row.content))


def _sqlite_settings(connection: object, _record: object) -> None:
    """Wait for another writer instead of failing at once, and let readers go on beside a writer."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
