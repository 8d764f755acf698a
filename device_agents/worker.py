"""One repetition: a fresh process that loads one model, times it and lets it prove its outputs.

Events go to the claimed standard output between stages; during the timed loop nothing is written and
nothing else runs in this process.
"""

import contextlib
import gc
import os
import resource
import threading
import time
from typing import Any, BinaryIO, Dict, Iterator, Optional

from device_agents import evaluation, memory, telemetry
from device_agents.engines.job_engine import engine_of
from device_agents.measurement import Samples, as_bytes, measure, system_clock, time_once
from device_agents.protocol import (
    Job,
    OutputsSaved,
    RepetitionEnded,
    RuntimeLoaded,
    SamplesTaken,
    StageReached,
    encode,
)
from device_agents.runtimes.base import Engine, LoadFailed, Request, Runtime, RuntimeMissing
from device_agents.runtimes.table import RUNTIMES
from device_agents.workspace import file_ref, is_full, whole_file


def die_with_parent() -> None:
    """End this process when the supervisor does: its end of standard input closes then.

    An orphan in its timed loop would spoil the next job's figures. The thread sleeps in a read and costs the
    loop nothing.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def run(job: Job, folder: str, repetition: int, out: BinaryIO) -> int:
    """Do the repetition; every end is told as an event. Returns the exit status."""
    worker = Worker(job, folder, repetition, out)
    try:
        worker.run()
    except RuntimeMissing as error:
        return worker.end("runtime_unavailable", str(error))
    except LoadFailed as error:
        return worker.end("load_failed", str(error))
    except MemoryError as error:
        return worker.end("out_of_memory", f"not enough memory: {error}")
    except OSError as error:
        return worker.end("disk_full" if is_full(error) else "io_failed", str(error))
    except Exception as error:  # noqa: BLE001 - runtimes raise what they like; the job has to hear of it
        return worker.end("inference_failed", f"{type(error).__name__}: {error}")
    return worker.end(None, None)


class Worker:
    """The stages of a repetition, told as events."""

    def __init__(self, job: Job, folder: str, repetition: int, out: BinaryIO) -> None:
        self._job = job
        self._folder = folder
        self._repetition = repetition
        self._out = out

    def run(self) -> None:
        """From an empty process to figures and outputs."""
        job = self._job
        memory.reset_peak()
        self._stage("started", 0.0)
        if job.runtime not in RUNTIMES:
            raise RuntimeMissing(f"this agent has no runtime {job.runtime!r}")
        runtime = RUNTIMES[job.runtime]()()
        with self._timed("runtime_imported"):
            runtime.start()
        feed = self._first_feed()
        engine = self._load(runtime)
        steps = engine.steps(feed)
        clock = system_clock()
        self._stage("first_inference", time_once(steps, clock))
        with _undisturbed():
            before, own_before = telemetry.cpu_times(), _own_cpu_s()
            began_s = time.monotonic()
            samples = measure(steps, job.measurement, clock)
            own_after, after = _own_cpu_s(), telemetry.cpu_times()
        self._stage("steady", samples.loop_s)
        self._save_samples(samples, engine, own_after - own_before, before, after, began_s)
        self._prove(engine)

    def end(self, reason: Optional[str], message: Optional[str]) -> int:
        """Tell how it ended."""
        outcome = "ok" if reason is None else "failed"
        self._emit(
            RepetitionEnded(time.time(), self._repetition, outcome, reason, message and message[:4000])
        )
        return 0 if reason is None else 1

    def _first_feed(self) -> Dict[str, Any]:
        if self._job.check_inputs is None:
            return {}
        path = os.path.join(self._folder, "data", self._job.check_inputs.file.name)
        return evaluation.first_example(self._job.check_inputs, path, self._job.inputs)

    def _load(self, runtime: Runtime) -> Engine:
        job = self._job
        files = [os.path.join(self._folder, "artifact", blob.name) for blob in job.artifact]
        with self._timed("model_loaded"):
            engine = runtime.load(
                Request(
                    files,
                    job.inputs,
                    job.outputs,
                    job.num_threads,
                    job.options,
                    job.precision,
                    job.batch_size,
                    self._built_engine(),
                )
            )
        details = dict(engine.details, package=runtime.package or runtime.name)
        if hasattr(os, "sched_getaffinity"):
            details["affinity"] = ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
        self._emit(
            RuntimeLoaded(
                self._repetition, runtime.version, details, list(engine.inputs), list(engine.outputs)
            )
        )
        return engine

    def _built_engine(self) -> Optional[str]:
        """The engine that was built for this job, where its runtime builds any."""
        path = engine_of(self._folder)
        return path if os.path.exists(path) else None

    def _save_samples(
        self, samples: Samples, engine: Engine, own_s: float, before: Any, after: Any, began_s: float
    ) -> None:
        path = os.path.join(self._folder, "result", f"samples-{self._repetition}.i64")
        with whole_file(path) as file:
            file.write(as_bytes([samples.warmups, samples.latency, samples.compute]))
        known = before is not None and after is not None
        self._emit(
            SamplesTaken(
                repetition=self._repetition,
                file=file_ref(path),
                warmups=len(samples.warmups),
                iterations=len(samples.latency),
                warmup_s=samples.warmup_s,
                loop_s=samples.loop_s,
                cpu_s=own_s,
                other_cpu_s=max(0.0, after.busy_s - before.busy_s - own_s) if known else None,
                steal_s=max(0.0, after.steal_s - before.steal_s) if known else None,
                stopped_by=samples.stopped_by,
                began_s=began_s,
                ended_s=time.monotonic(),
                gpu_bytes=_gpu_bytes(engine),
            )
        )

    def _prove(self, engine: Engine) -> None:
        """Outputs of the very engine that was timed; labelled data once, the check in every repetition."""
        todo = [("check", self._job.check_inputs)]
        if self._repetition == 0:
            todo.append(("evaluation", self._job.evaluation))
        for purpose, dataset in todo:
            if dataset is None:
                continue
            source = os.path.join(self._folder, "data", dataset.file.name)
            target = os.path.join(self._folder, "result", f"{purpose}-{self._repetition}.npz")
            saved = evaluation.run_all(engine, dataset, source, self._job.inputs, target)
            self._emit(OutputsSaved(self._repetition, purpose, saved, dataset.examples))

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._stage(stage, time.perf_counter() - begun)

    def _stage(self, name: str, seconds: float) -> None:
        now = memory.read()
        self._emit(StageReached(self._repetition, name, seconds, now.rss, now.peak_rss, now.pss, now.swap))

    def _emit(self, event: Any) -> None:
        self._out.write(encode(event))
        self._out.flush()


def _gpu_bytes(engine: Engine) -> Optional[int]:
    """What the driver says this process holds on the GPU, where it says so; else what the engine knows."""
    if engine.gpu_bytes is None:
        return None
    from device_agents.boards.host import this_host
    from device_agents.boards.table import this_board

    told = this_board(this_host()).gpu_bytes(os.getpid())
    return engine.gpu_bytes if told is None else told


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection while it lasts."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _own_cpu_s() -> float:
    """CPU seconds of this process, all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
