from dataclasses import replace

import numpy as np

from reports.record import Doubt, Failure, Fidelity, Record, RepetitionSummary, Summary
from reports.sentences import overhead_sentences, summary_sentences
from tests.reports.report_builders import HOSTILE, case, failed, latencies, measured, results_of, top1


def of(
    precision: str,
    p50: float,
    width: float = 0.01,
    *,
    correct: tuple[int, int] | None = (448, 450),
    runtime: str = "onnxruntime",
    verdict: str = "valid",
    reasons: tuple[str, ...] = (),
    threads: int = 1,
    batch: int = 1,
) -> Record:
    """A record of exactly this median and interval."""
    summary = Summary(400, p50, 0.1, p50, p50, None, None, None, p50, (p50 * (1 - width), p50 * (1 + width)))
    of_case = case(runtime=runtime, precision=precision, num_threads=threads, batch_size=batch)
    return replace(
        measured(of_case, latencies(p50, seed=1, count=50, repetitions=1), correct=correct),
        latency_ms=summary,
        verdict=verdict,
        reasons=reasons,
        doubts=tuple(Doubt(reason, "seen") for reason in reasons),
        repetitions=(RepetitionSummary(0, 400, 20, p50, 1.0, "precision"),),
    )


def said(*records: Record) -> str:
    (only,) = summary_sentences(results_of(*records))
    return only.removeprefix("digits on pi-5: ")


def test_the_pick_is_said_with_its_ratio_interval_and_accuracies() -> None:
    assert said(of("fp32", 19.0), of("int8", 10.0)) == (
        "int8 on onnxruntime is 1.90x faster than fp32 (10.0 ms, interval 1.87 to 1.93x), "
        "accuracy 99.6 % vs 99.6 % (n = 450)."
    )


def test_a_difference_within_the_noise_is_said_to_be_none() -> None:
    text = said(of("fp32", 10.1, 0.02), of("int8", 10.0, 0.02))
    assert text.startswith("int8 on onnxruntime and fp32 are equally fast within the noise")
    assert "(10.0 ms, ratio 1.01, interval 0.982 to 1.04x)" in text


def test_an_accuracy_difference_of_one_in_twenty_ranks_nothing() -> None:
    text = said(of("fp32", 20.0, correct=(18, 20)), of("int8", 10.0, correct=(17, 20)))
    assert "int8 on onnxruntime is 2.00x faster" in text
    assert "accuracy 85.0 % vs 90.0 % (no difference that n = 20 could show)" in text


def test_a_demonstrably_less_accurate_case_is_passed_over_and_the_loss_said() -> None:
    assert said(of("fp32", 20.0), of("fp16", 15.0), of("int8", 10.0, correct=(300, 450))) == (
        "fp16 on onnxruntime is 1.33x faster than fp32 (15.0 ms, interval 1.31 to 1.35x), "
        "accuracy 99.6 % vs 99.6 % (n = 450). "
        "int8 on onnxruntime is 1.50x faster than that, but loses 32.9 points of accuracy (66.7 %, n = 450)."
    )


def test_an_invalid_case_is_never_picked() -> None:
    text = said(of("fp32", 20.0), of("int8", 1.0, verdict="invalid", reasons=("wrong_output",)))
    assert text == (
        "fp32 on onnxruntime takes 20.0 ms, accuracy 99.6 % (n = 450); no other precision has a usable "
        "figure. Not ranked: 1 invalid."
    )


def test_a_faster_suspect_case_is_named_but_not_picked() -> None:
    text = said(of("fp32", 20.0), of("fp16", 15.0), of("int8", 10.0, verdict="suspect", reasons=("drift",)))
    assert text.startswith("fp16 on onnxruntime is 1.33x faster than fp32")
    assert text.endswith("int8 on onnxruntime is 1.50x faster than that, but suspect (drift).")


def test_only_suspect_figures_are_said_to_be_so() -> None:
    text = said(of("fp32", 20.0, verdict="suspect", reasons=("busy_board",)))
    assert text.endswith("Every usable figure is suspect (busy board): measure again before deciding.")


def test_a_suspect_fp32_is_named_when_a_valid_case_is_compared_with_it() -> None:
    text = said(of("fp32", 20.0, verdict="suspect", reasons=("drift",)), of("int8", 10.0))
    assert "The fp32 it is compared with is suspect (drift)." in text


def test_a_faster_fp32_on_another_runtime_is_not_kept_quiet() -> None:
    text = said(of("fp32", 20.0), of("fp32", 12.0, runtime="tflite"), of("int8", 10.0))
    assert text.startswith("int8 on onnxruntime is 2.00x faster than fp32")
    assert "The fastest fp32 runs on tflite (12.0 ms)." in text


def test_fp32_that_beats_the_quantised_ones_is_the_pick() -> None:
    text = said(of("fp32", 10.0), of("int8", 14.0))
    assert text == (
        "fp32 on onnxruntime is the one to take with 10.0 ms, accuracy 99.6 % (n = 450); "
        "int8 on onnxruntime is 1.40x slower."
    )


def test_fp32_on_another_runtime_and_threads_are_named() -> None:
    text = said(of("fp32", 20.0, threads=1), of("int8", 10.0, runtime="tflite", threads=4))
    assert text.startswith(
        "int8 on tflite with 4 threads is 2.00x faster than fp32 on onnxruntime with 1 thread ("
    )


def test_without_a_usable_fp32_nothing_is_called_faster() -> None:
    assert said(of("int8", 10.0)) == (
        "int8 on onnxruntime takes 10.0 ms; no usable fp32 to compare it with, accuracy 99.6 % (n = 450)."
    )


def test_without_labels_the_agreement_with_fp32_is_said() -> None:
    agreed = replace(of("int8", 10.0, correct=None), fidelity=Fidelity(0.99, 0.1, 0.875, 8))
    assert "accuracy not measured; same top class as fp32 in 87.5 % of 8 checks" in said(
        of("fp32", 20.0, correct=None), agreed
    )


def test_batches_are_not_compared_with_single_inputs() -> None:
    text = said(of("fp32", 20.0), of("int8", 10.0), of("int8", 5.0, batch=8))
    assert "int8 on onnxruntime is 2.00x faster than fp32" in text
    assert text.endswith("Compared at batch size 1.")


def test_when_nothing_was_measured_the_reasons_are_counted() -> None:
    text = said(
        failed(case(), "failed", Failure("build", "x", "y")),
        failed(case(precision="int8"), "unsupported", Failure("build", "x", "y")),
        of("fp16", 10.0, verdict="invalid"),
    )
    assert text == "Nothing to recommend: 1 failed, 1 unsupported, 1 invalid."


def test_a_record_without_a_verdict_is_not_taken_for_valid() -> None:
    assert "Every usable figure is suspect (no reason given)" in said(replace(of("fp32", 20.0), verdict=None))


def test_a_ratio_of_a_clock_without_resolution_claims_nothing() -> None:
    zero = Summary(400, 0, 0, 0, 0.0, None, None, None, 0, (0.0, 0.0))
    records = [replace(of(precision, 1.0), latency_ms=zero) for precision in ("int8", "fp32")]
    assert "equally fast within the noise" in said(*records)


def test_the_null_runtime_has_its_own_sentence_and_no_other() -> None:
    ticks = (np.full(200, 74),)
    null = measured(case(runtime="null"), ticks)
    results = results_of(of("fp32", 20.0), null)
    assert overhead_sentences(results) == (
        "On pi-5 the harness itself adds 74 ns to each latency "
        "(median over 200 iterations of a runtime that computes nothing).",
    )
    assert len(summary_sentences(results)) == 1


def test_hostile_names_cannot_steer_a_terminal() -> None:
    record = replace(of("fp32", 20.0), case=case(device=HOSTILE, model=HOSTILE, runtime=HOSTILE))
    (text,) = summary_sentences(results_of(record))
    assert not {"\x1b", "\u202e", "\ud800", "\n"} & set(text)


def test_accuracies_of_different_metrics_are_not_set_against_each_other() -> None:
    other = replace(of("int8", 10.0), accuracy=replace(top1(1, 2), metric="top5"), fidelity=None)
    assert said(of("fp32", 20.0), other).endswith("accuracy not measured.")
