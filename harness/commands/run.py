"""`bench run`: measure models on boards and write the report."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import typer

from convert.conversion import Io
from harness.campaign import Campaign, CampaignSettings
from harness.commands import console
from harness.commands.board_settings import PANEL, board_options
from harness.commands.chosen_boards import choose_boards
from harness.commands.option_values import numbers, shapes, words
from harness.commands.progress_display import ProgressDisplay
from harness.commands.results_table import show_results
from harness.errors import ConfigurationError, UsageError
from harness.farm.boards import open_session, possible_boards
from harness.farm.inventory import DeviceEntry
from harness.models import BenchModel, find_models
from harness.outputs import Ended, check_folder, write_outputs
from harness.places import runs_folder, workshop
from harness.plan import PlanFile, PlannedCase, Selection, cases, check_selection, digest, load_plan_file
from harness.preparation import Preparation
from harness.records.case_records import now
from harness.records.metrics import check_metric
from harness.run_locks import RunLocks
from harness.store import DEFAULT_PATH, Store, case_key, lost_its_board
from harness.version import harness_version
from profiles.devices import device_profile
from profiles.measurement import MeasurementProfile, measurement_profile
from profiles.strict_toml import InvalidFile
from reports.record import Run, to_json

EXIT_CASE_FAILED = 3
EXIT_INTERRUPTED = 130

DEMO_MODEL = "digits"

EPILOG = (
    "Example: bench run --device jetson-nano --model model.onnx --precision fp32,int8 --calibration photos/ "
    "--dataset photos.npz"
)


def run(
    model: list[str] = typer.Option(
        [],
        "--model",
        "-m",
        metavar="PATH|NAME",
        help="A model file, SavedModel folder, model.toml, package.module:factory or built-in model; "
        "repeatable. Default: the demo.",
    ),
    device: list[str] = typer.Option(
        [],
        "--device",
        "-d",
        metavar="D",
        help="An inventory name, a profile name, user@host or local; repeatable.",
    ),
    runtime: str | None = typer.Option(
        None,
        metavar="R,..",
        help="onnxruntime, tflite, tensorrt, null; several with commas. "
        "Default: those nearest to the model's format.",
    ),
    precision: str | None = typer.Option(
        None, metavar="P,..", help="fp32, fp16, int8, int8-dynamic; several with commas. Default: all."
    ),
    batch: str | None = typer.Option(None, metavar="N,..", help="Batch sizes, with commas."),
    threads: str | None = typer.Option(None, metavar="N,..", help="Numbers of threads, with commas."),
    dataset: Path | None = typer.Option(
        None, metavar="PATH", help="An .npz (inputs by name, labels) or an image folder: gives accuracy."
    ),
    calibration: Path | None = typer.Option(
        None, metavar="PATH", help="An .npz or image folder that int8 is calibrated on."
    ),
    allow_random_calibration: bool = typer.Option(
        False, "--allow-random-calibration", help="Calibrate int8 on noise when there is no data."
    ),
    io: str = typer.Option(
        "float", metavar="T", help="Types at the ends of int8 TFLite models: float, uint8 or int8."
    ),
    shape: list[str] = typer.Option(
        [], metavar="NAME=1,3,..", help="Shape of a dynamic input: name=1,3,224,224; repeatable."
    ),
    metric: str | None = typer.Option(
        None, metavar="NAME", help="top1, top5, mean_iou or package.module:function."
    ),
    measurement: str | None = typer.Option(
        None, metavar="NAME", help="quick, standard, mlperf-like, or a TOML file. Default: standard."
    ),
    plan: Path | None = typer.Option(
        None, metavar="FILE", help="A plan.toml with devices, models, runtimes, ..."
    ),
    inventory: Path | None = typer.Option(
        None, metavar="FILE", help="The inventory. Default: ./devices.toml, then the user's own."
    ),
    out: Path | None = typer.Option(
        None, metavar="DIR", help="Folder for report.html, results.json and results.csv."
    ),
    store: str = typer.Option(
        str(DEFAULT_PATH), metavar="FILE|URL", help="Result database: an SQLite file or a database URL."
    ),
    resume: bool = typer.Option(
        False,
        "--resume",
        help="Go on with the latest run of the same cases if it was interrupted or lost a board.",
    ),
    performance_mode: str = typer.Option(
        "keep",
        metavar="M",
        help="max raises clocks and power for each job and restores them after it; keep leaves them.",
        rich_help_panel=PANEL,
    ),
    cool_down: float = typer.Option(
        120.0,
        metavar="SECONDS",
        help="How long a hot board may cool before a case starts.",
        rich_help_panel=PANEL,
    ),
    provider: str | None = typer.Option(
        None,
        metavar="P,..",
        help="onnxruntime: execution providers, best first: cuda, tensorrt, xnnpack, cpu, ...",
        rich_help_panel=PANEL,
    ),
    delegate: str | None = typer.Option(
        None,
        metavar="NAME|PATH",
        help="tflite: edgetpu, gpu, or a delegate's library on the board.",
        rich_help_panel=PANEL,
    ),
    delegate_options: str | None = typer.Option(
        None, metavar="K=V,..", help="tflite: options for the delegate.", rich_help_panel=PANEL
    ),
    int8_by: str = typer.Option(
        "qdq",
        metavar="W",
        help="tensorrt: int8 ranges from the graph (qdq) or from a calibrator on the board (up to 10).",
        rich_help_panel=PANEL,
    ),
    dla: int | None = typer.Option(
        None, metavar="CORE", help="tensorrt: run on this DLA core.", rich_help_panel=PANEL
    ),
    workspace_mib: int | None = typer.Option(
        None,
        "--workspace",
        metavar="MIB",
        help="tensorrt: most workspace to build with.",
        rich_help_panel=PANEL,
    ),
    batch_profile: str | None = typer.Option(
        None,
        metavar="MIN,OPT,MAX",
        help="tensorrt: batch sizes one engine is built for. Default: each case's own.",
        rich_help_panel=PANEL,
    ),
    optimization_level: int | None = typer.Option(
        None, metavar="N", help="tensorrt: how hard the builder tries (8.6 on).", rich_help_panel=PANEL
    ),
    via: str | None = typer.Option(
        None,
        metavar="TOOL",
        help="tensorrt: let trtexec measure the same engine too, as an independent check.",
        rich_help_panel=PANEL,
    ),
    deadline: float | None = typer.Option(
        None,
        metavar="SECONDS",
        min=0.1,
        help="End a case that takes longer on its board. Default: what its measurement can take at most, "
        "and time to load and build.",
    ),
    wait: float = typer.Option(3600.0, metavar="SECONDS", help="How long to wait for a busy board."),
    as_json: bool = typer.Option(False, "--json", help="Print results.json instead of the table."),
) -> None:
    """Measure models on boards: latency, memory, accuracy, and whether the figures can be trusted.

    Without arguments: the built-in model on this machine, every runtime and precision there is.
    """
    plan_file = load_plan_file(plan) if plan is not None else PlanFile()
    selection = Selection(
        runtimes=words(runtime) or plan_file.runtimes,
        precisions=words(precision) or plan_file.precisions,
        batch_sizes=numbers("--batch", batch) or plan_file.batch_sizes,
        num_threads=numbers("--threads", threads) or plan_file.num_threads,
    )
    check_selection(selection)
    profile = _measurement(measurement or plan_file.measurement)
    options = board_options(
        performance_mode=performance_mode,
        cool_down=cool_down,
        provider=provider,
        delegate=delegate,
        delegate_options=delegate_options,
        int8_by=int8_by,
        dla_core=dla,
        workspace=workspace_mib,
        batch_profile=batch_profile,
        optimization_level=optimization_level,
        via=via,
    )
    preparation = Preparation(
        workshop(console.note), allow_random_calibration=allow_random_calibration, io=_io(io)
    )
    models = _with_data(
        find_models(model or list(plan_file.models) or [DEMO_MODEL]), dataset, calibration, metric
    )
    models = preparation.with_shapes(models, shapes(shape))
    possible = possible_boards(device or list(plan_file.devices), inventory)
    if not cases([boards[0].name for boards in possible], models, selection):
        raise UsageError(
            "nothing to measure: the plan combines to no case", "give at least one of everything"
        )
    if out is not None:
        check_folder(out)
    opened = Store.open(store)

    def identity(names: Sequence[str]) -> str:
        return digest(cases(names, models, selection), profile, options)

    new_id = _new_id()
    boards, claimed = choose_boards(possible, opened if resume else None, identity, new_id)
    planned = cases(list(boards), models, selection)
    this_run, finished = _begin(opened, digest(planned, profile, options), resume, new_id)
    kinds = {name: device_profile(entry.profile) for name, entry in boards.items()}
    alive = RunLocks(runs_folder())
    settings = CampaignSettings(
        this_run.id,
        profile,
        lock_wait_s=wait,
        options=options,
        profiles=kinds,
        claimed=claimed,
        is_gone=alive.is_gone,
        deadline_s=deadline,
    )
    with alive.held(this_run.id) as stay_known:
        complete = _measure(settings, opened, preparation, boards, planned, finished)
        if not complete:
            stay_known()
    ended = Ended(now(), interrupted=not complete)
    try:
        results, files = write_outputs(opened, this_run.id, out or DEFAULT_PATH.parent / this_run.id, ended)
    finally:
        # After the files: a controller that is killed while it writes them can be resumed.
        opened.finish(this_run.id, ended.at, interrupted=ended.interrupted)
    if as_json:
        console.out.print_json(json.dumps(to_json(results)), ensure_ascii=True)
    else:
        show_results(results)
        console.out.print(f"\nReport: {files.report}", soft_wrap=True)
    if not complete:
        console.err.print("interrupted; go on with the same command and --resume")
        raise typer.Exit(EXIT_INTERRUPTED)
    if any(lost_its_board(record) for record in results.records):
        console.err.print("boards or links failed; the same command with --resume tries those cases again")
    if any(record.status == "failed" for record in results.records):
        raise typer.Exit(EXIT_CASE_FAILED)


def _measure(
    settings: CampaignSettings,
    store: Store,
    preparation: Preparation,
    boards: Mapping[str, DeviceEntry],
    planned: Sequence[PlannedCase],
    finished: frozenset[str],
) -> bool:
    """Run the campaign with its progress shown; False if it was interrupted."""
    with ProgressDisplay(len(planned) - len(finished)) as display:
        campaign = Campaign(
            settings, store, preparation, lambda name: open_session(boards[name], settings.run_id), display
        )
        try:
            return campaign.run(planned, finished)
        except UsageError:
            # Found in the data, mostly before anything was measured; a board may have been quicker.
            kept = store.results(settings.run_id).records
            if not finished and not any(record.status == "ok" for record in kept):
                store.forget(settings.run_id)
            raise


def _new_id() -> str:
    """They sort as runs began, also within a second; the last word keeps controllers of one board apart."""
    seconds, fraction = divmod(time.time(), 1)
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(seconds)) + f"-{int(fraction * 65536):04x}"
    return moment + secrets.token_hex(2)


def _begin(store: Store, plan_digest: str, resume: bool, new_id: str) -> tuple[Run, frozenset[str]]:
    """The run, new or resumed, and the keys of its finished cases."""
    if resume:
        earlier = store.unfinished(plan_digest)
        if earlier is not None:
            done = store.results(earlier.id).records
            store.reopen(earlier.id)
            kept = [record for record in done if not lost_its_board(record)]
            words = "1 case is" if len(kept) == 1 else f"{len(kept)} cases are"
            console.err.print(f"resuming run {earlier.id}: {words} finished already")
            return earlier, frozenset(case_key(record.case) for record in kept)
        console.err.print("nothing to resume: there is no interrupted run of these cases; starting a new one")
    new = Run(new_id, now(), harness_version(), ("bench", *sys.argv[1:]))
    store.begin(new, plan_digest)
    return new, frozenset()


def _with_data(
    models: list[BenchModel],
    dataset: Path | None,
    calibration: Path | None,
    metric: str | None,
) -> list[BenchModel]:
    """The options' data in place of the models' own."""
    for option, path in (("--dataset", dataset), ("--calibration", calibration)):
        if path is not None and not path.exists():
            raise UsageError(f"{option} {path}: no such file or folder")
    for name in {metric or model.metric for model in models} - {None}:
        check_metric(str(name))
    return [
        replace(
            model,
            dataset=dataset or model.dataset,
            calibration=calibration or model.calibration,
            metric=metric or model.metric,
        )
        for model in models
    ]


def _measurement(name: str) -> MeasurementProfile:
    try:
        return measurement_profile(name)
    except InvalidFile as error:
        raise ConfigurationError(error.faults) from error


def _io(word: str) -> Io:
    if word not in ("float", "uint8", "int8"):
        raise UsageError(f"--io {word}: no such type", "give float, uint8 or int8")
    return cast("Io", word)
