"""Records of cases without figures, and what every record says of its artifact."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from convert.proofs.verification import OutputAgreement
from harness.errors import CaseError
from harness.preparation import Workload
from reports import record as kept
from reports.record import Case, Failure, Record


def now() -> str:
    """UTC as records state times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def failure_record(case: Case, error: CaseError, workload: Workload | None = None) -> Record:
    """The record of a case that could not be measured."""
    return Record(
        case=case,
        status="failed",
        failure=Failure(error.failure_class, error.reason, error.message, error.remedy),
        artifact=artifact_of(workload) if workload else None,
        started_at=now(),
        finished_at=now(),
    )


def unsupported_record(
    case: Case, reason: str, message: str, remedy: str | None, failure_class: str
) -> Record:
    """The record of a case that cannot be, and that nobody asked for by name."""
    return Record(
        case=case,
        status="unsupported",
        failure=Failure(failure_class, reason, message, remedy),
        started_at=now(),
        finished_at=now(),
    )


def artifact_of(workload: Workload) -> kept.Artifact | None:
    """The artifact as the record keeps it."""
    artifact = workload.artifact
    if artifact is None:
        return None
    return kept.Artifact(
        sha256=artifact.sha256,
        bytes=artifact.bytes,
        converter=artifact.converter,
        steps=tuple(
            kept.ConversionStep(step.tool, step.version, step.seconds, step.peak_memory_bytes, step.detail)
            for step in artifact.steps
        ),
        verification=fidelity_of([artifact.agreement], None) if artifact.agreement else None,
        calibration=str(artifact.calibration) if artifact.calibration else None,
        warnings=artifact.warnings,
    )


def fidelity_of(
    agreements: list[tuple[OutputAgreement, ...]], workload: Workload | None
) -> kept.Fidelity | None:
    """The worst over all outputs, and each output of the first distinct outcome."""
    everything = [agreement for outcome in agreements for agreement in outcome]
    if not everything:
        return None
    return kept.Fidelity(
        cosine=_lowest(agreement.cosine for agreement in everything),
        max_abs_error=_finite(max(agreement.max_abs_error for agreement in everything)),
        argmax_agreement=_lowest(agreement.argmax_agreement for agreement in everything),
        n=workload.check.examples if workload and workload.check else 0,
        outputs=tuple(
            kept.OutputFidelity(a.name, a.cosine, _finite(a.max_abs_error), a.sqnr_db, a.argmax_agreement)
            for a in agreements[0]
        ),
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity; an output that is not finite has no largest error."""
    return value if math.isfinite(value) else None


def _lowest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
