from dataclasses import replace

from reports.record import Accuracy, Failure, Fidelity, Record
from reports.tradeoff import pareto
from tests.reports.report_builders import case, failed, latencies, measured, results_of, top1


def of(precision: str, median_ms: float, correct: int | None = None, **more: object) -> Record:
    series = latencies(median_ms, seed=1, count=100)
    scored = (correct, 450) if correct is not None else None
    return replace(measured(case(precision=precision), series, correct=scored), **more)  # type: ignore[arg-type]


def line(*records: Record) -> list[str]:
    (picture,) = pareto(records)
    return [point.record.case.precision for point in picture.line]


def test_the_line_holds_what_nothing_beats_in_both() -> None:
    assert line(
        of("fp32", 30, 448), of("fp16", 20, 447), of("int8", 10, 300), of("int8-dynamic", 25, 299)
    ) == [
        "int8",
        "fp16",
        "fp32",
    ]


def test_of_equal_accuracies_only_the_fastest_stays() -> None:
    assert line(of("fp32", 30, 448), of("int8", 10, 448)) == ["int8"]


def test_invalid_failed_and_null_records_are_not_drawn() -> None:
    null = replace(of("fp32", 0.001, 450), case=case(runtime="null"))
    records = (
        of("fp32", 30, 448),
        of("int8", 10, 449, verdict="invalid"),
        failed(case(precision="fp16"), "failed", Failure("build", "x", "y")),
        null,
    )
    assert line(*records) == ["fp32"]
    assert [point.record.case.runtime for point in pareto(records)[0].points] == ["onnxruntime"]


def test_every_model_device_and_batch_has_its_own_picture() -> None:
    batched = replace(of("fp32", 80, 448), case=case(batch_size=8))
    elsewhere = replace(of("fp32", 80, 448), case=case(device="nano-01"))
    pictures = pareto((of("fp32", 30, 448), batched, elsewhere))
    assert [(picture.device, picture.batch_size) for picture in pictures] == [
        ("pi-5", 1),
        ("pi-5", 8),
        ("nano-01", 1),
    ]


def test_differences_within_their_intervals_are_not_resolved() -> None:
    few = [replace(of("fp32", 30), accuracy=top1(18, 20)), replace(of("int8", 10), accuracy=top1(17, 20))]
    assert pareto(few)[0].resolved is False
    assert pareto((of("fp32", 30, 448), of("int8", 10, 300)))[0].resolved is True


def test_without_accuracy_the_agreement_with_fp32_takes_its_place() -> None:
    (picture,) = pareto((of("fp32", 30), of("int8", 10, fidelity=Fidelity(0.98, 0.1, 0.875, 8))))
    assert picture.quality == "argmax_agreement"
    assert [(point.quality, point.on_line) for point in picture.points] == [(0.875, True), (1.0, True)]


def test_without_classes_the_cosine_takes_its_place() -> None:
    (picture,) = pareto((of("int8", 10, fidelity=Fidelity(0.98, 0.1, None, 8)),))
    assert (picture.quality, picture.points[0].quality) == ("cosine", 0.98)


def test_a_case_without_the_others_metric_stands_apart() -> None:
    (picture,) = pareto(
        (of("fp32", 30, 448), of("int8", 10), of("fp16", 9, accuracy=Accuracy("mIoU", 0.5, 3, None)))
    )
    assert [record.case.precision for record in picture.apart] == ["int8", "fp16"]


def test_a_run_without_usable_records_has_no_picture() -> None:
    assert pareto(results_of(of("fp32", 30, 448, verdict="invalid")).records) == ()
