"""The process that builds a job's engine, or finds it from an earlier job.

A build may take half an hour and most of the board's memory. It runs in a process of its own, which the
kernel kills before it kills sshd, and a try that ran out of memory is followed by one with less workspace.
"""

import contextlib
import errno
import os
import time
from typing import Any, BinaryIO, Dict, List, Optional

from device_agents import memory
from device_agents.boards.host import Host, this_host
from device_agents.engines.cache import EngineCache, StoredEngine, engine_key
from device_agents.engines.job_engine import engine_of
from device_agents.protocol import BuildAttemptFailed, EngineBuilt, Job, TensorSpec, encode
from device_agents.runtimes.base import (
    BuildFailed,
    BuildRequest,
    LoadFailed,
    Request,
    Runtime,
    RuntimeMissing,
)
from device_agents.runtimes.table import RUNTIMES
from device_agents.workspace import Workspace

#: The first try: a quarter of the RAM, and no more than any layer is likely to want. Each next has a quarter.
MOST_WORKSPACE_BYTES = 1 << 30
LEAST_WORKSPACE_BYTES = 16 << 20
_STEP = 4

#: Jetsons of up to 4 GB: their GPU shares the RAM, and more starves the system.
SMALL_JETSON_BYTES = 4 << 30
SMALL_JETSON_WORKSPACE_BYTES = 256 << 20

_NICENESS = 5
_OOM_SCORE_ADJ = "500"
_MOST_TEXT = 4000


def run(workspace: Workspace, job: Job, rung: int, out: BinaryIO) -> int:
    """Emit one EngineBuilt or BuildAttemptFailed; the engine is then `engine/` in the job's folder."""
    _stand_back()
    event = _Attempt(workspace, job, rung, this_host()).event()
    out.write(encode(event))
    out.flush()
    return 0 if isinstance(event, EngineBuilt) else 1


def workspace_bytes(host: Host, first_mib: Optional[int], rung: int) -> Optional[int]:
    """Workspace of the rung-th try, bytes; None where a smaller one than the last is not worth trying.

    The first is what the job names, else a quarter of the RAM as a power of two between 16 MiB and 1 GiB.
    """
    first = (first_mib << 20) if first_mib else default_workspace_bytes(host)
    least = min(first, LEAST_WORKSPACE_BYTES)
    wanted = first
    for _ in range(rung):
        if wanted <= least:
            return None
        wanted = max(least, wanted // _STEP)
    return wanted


def default_workspace_bytes(host: Host) -> int:
    """What fits the board's RAM; 256 MiB at most where a small RAM is also the GPU's."""
    words = host.files.table("/proc/meminfo").get("MemTotal", "").split()
    total = int(words[0]) * 1024 if words and words[0].isdecimal() else 0
    quarter = total // 4
    room = 1 << (quarter.bit_length() - 1) if quarter else LEAST_WORKSPACE_BYTES
    most = MOST_WORKSPACE_BYTES
    if l4t_release(host) is not None and total <= SMALL_JETSON_BYTES:
        most = SMALL_JETSON_WORKSPACE_BYTES
    return max(LEAST_WORKSPACE_BYTES, min(most, room))


def l4t_release(host: Host) -> Optional[str]:
    """First line of a Jetson's release file."""
    text = host.files.text("/etc/nv_tegra_release")
    return text.splitlines()[0] if text else None


class _Attempt:
    """One try: an engine found, built or not."""

    def __init__(self, workspace: Workspace, job: Job, rung: int, host: Host) -> None:
        self._job = job
        self._rung = rung
        self._host = host
        self._folder = workspace.job(job.job_id)
        self._cache = EngineCache(workspace.engines)
        self._workspace_bytes: Optional[int] = None
        self._warnings: List[str] = []

    def event(self) -> Any:
        """How it ended."""
        try:
            return self._engine()
        except BuildFailed as error:
            return self._failed(error.reason, str(error))
        except RuntimeMissing as error:
            return self._failed("runtime_unavailable", str(error))
        except LoadFailed as error:
            return self._failed("build_failed", str(error))
        except MemoryError as error:
            return self._failed("out_of_memory", "not enough memory: {}".format(error))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return self._failed("disk_full" if full else "io_failed", str(error))
        except Exception as error:  # noqa: BLE001 - runtimes raise what they like; the job has to hear of it
            return self._failed("build_failed", "{}: {}".format(type(error).__name__, error))

    def _engine(self) -> EngineBuilt:
        runtime = RUNTIMES[self._job.runtime]()()
        runtime.start()
        model = self._model()
        identity = self._identity(runtime, model)
        key = engine_key(identity)
        stored = self._reusable(runtime, key)
        reused = stored is not None
        if stored is None:
            stored = self._built(runtime, model, identity, key)
        self._link(stored)
        return _told(stored, reused, self._warnings)

    def _identity(self, runtime: Runtime, model: Request) -> Dict[str, Any]:
        """Everything the engine depends on. Of workspaces the first: which rung it took is chance."""
        job = self._job
        identity: Dict[str, Any] = dict(runtime.engine_identity(model))
        identity.update(
            runtime=job.runtime,
            artifact=[blob.sha256 for blob in job.artifact],
            inputs=[[spec.names[0], self._open_shape(spec), spec.dtype] for spec in job.inputs],
            calibration=job.calibration.file.sha256 if job.calibration else None,
            first_workspace_bytes=workspace_bytes(self._host, self._first_mib(), 0),
            l4t_release=l4t_release(self._host),
        )
        return identity

    def _open_shape(self, spec: TensorSpec) -> List[int]:
        """A tensor's shape; its first axis is open where one engine serves all batch sizes of a profile."""
        sizes = self._job.options.get("batch_profile", "").split(",")
        known = len(sizes) == 3 and all(size.isdecimal() for size in sizes)
        if known and spec.shape and int(sizes[0]) <= spec.shape[0] <= int(sizes[2]):
            return [-1] + list(spec.shape[1:])
        return list(spec.shape)

    def _first_mib(self) -> Optional[int]:
        text = self._job.options.get("workspace_mib")
        if text is None:
            return None
        if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
            raise BuildFailed(
                "invalid_option", "workspace_mib is {!r}; it takes a number of MiB".format(text)
            )
        return int(text)

    def _reusable(self, runtime: Runtime, key: str) -> Optional[StoredEngine]:
        """The engine of an earlier job, if it is whole and loads; one that does not is removed."""
        stored = self._cache.find(key)
        if stored is not None:
            try:
                runtime.check_engine(stored.plan)
                return stored
            except LoadFailed as error:
                self._warnings.append("the engine of an earlier job was built anew: {}".format(error))
        if self._cache.remove(key) and not self._warnings:
            self._warnings.append("the engine of an earlier job was built anew: its files were not whole")
        return None

    def _built(self, runtime: Runtime, model: Request, identity: Dict[str, Any], key: str) -> StoredEngine:
        room = workspace_bytes(self._host, self._first_mib(), self._rung)
        if room is None:
            raise BuildFailed(
                "out_of_memory",
                "not enough memory with the least workspace either; free some (stop the desktop, add swap), "
                "or take a smaller batch",
            )
        self._workspace_bytes = room
        data = self._job.calibration
        wanted = BuildRequest(
            model,
            room,
            self._cache.folder,
            engine_key({"artifact": identity["artifact"]}),
            data,
            os.path.join(self._folder, "data", data.file.name) if data else None,
        )
        memory.reset_peak()
        with self._cache.new(key) as target:
            built = runtime.build(wanted, target)
            note = dict(
                built._asdict(),
                identity=identity,
                workspace_bytes=room,
                peak_rss_bytes=memory.read().peak_rss,
            )
            return self._cache.keep(key, note)

    def _model(self) -> Request:
        job = self._job
        files = [os.path.join(self._folder, "artifact", blob.name) for blob in job.artifact]
        return Request(
            files, job.inputs, job.outputs, job.num_threads, job.options, job.precision, job.batch_size
        )

    def _link(self, stored: StoredEngine) -> None:
        """A hard link, so that eviction cannot take a running job's engine."""
        target = engine_of(self._folder)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(target)
        os.link(stored.plan, target)

    def _failed(self, reason: str, message: str) -> BuildAttemptFailed:
        return BuildAttemptFailed(
            time.time(), self._rung, self._workspace_bytes, reason, message[:_MOST_TEXT]
        )


def _told(stored: StoredEngine, reused: bool, warnings: List[str]) -> EngineBuilt:
    """The event, from the note beside the engine."""
    note = stored.note
    return EngineBuilt(
        time=time.time(),
        key=stored.key,
        reused=reused,
        seconds=note["seconds"],
        bytes=note["bytes"],
        workspace_bytes=note["workspace_bytes"],
        peak_rss_bytes=note["peak_rss_bytes"],
        details=note["details"],
        layer_precisions=note["layer_precisions"],
        skipped_tactics=note["skipped_tactics"],
        warnings=warnings + note["warnings"],
    )


def _stand_back() -> None:
    """Let sshd and the supervisor go first, and the kernel choose this process when memory runs out."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_OOM_SCORE_ADJ)
