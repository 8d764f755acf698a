"""Options of `bench run` for boards and their runtimes, checked together."""

from __future__ import annotations

from typing import Any, cast

from harness.board_options import BoardOptions, Int8By, PerformanceModeName
from harness.commands.option_values import numbers, words
from harness.errors import UsageError

PANEL = "Boards and accelerators"


def board_options(
    *,
    performance_mode: str,
    cool_down: float,
    provider: str | None,
    delegate: str | None,
    delegate_options: str | None,
    int8_by: str,
    dla_core: int | None,
    workspace: int | None,
    batch_profile: str | None,
    optimization_level: int | None,
    via: str | None,
) -> BoardOptions:
    """The settings of a run; raises UsageError naming the option."""
    _one_of("--performance-mode", performance_mode, ("keep", "max"))
    _one_of("--int8-by", int8_by, ("qdq", "calibrator"))
    _one_of("--via", via, (None, "trtexec"))
    for option, value, least in (
        ("--cool-down", cool_down, 0),
        ("--dla", dla_core, 0),
        ("--workspace", workspace, 1),
        ("--optimization-level", optimization_level, 0),
    ):
        if value is not None and value < least:
            raise UsageError(f"{option} {value:g}: has to be {least} or more")
    if delegate_options and not delegate:
        raise UsageError("--delegate-options without --delegate", "name the delegate too")
    return BoardOptions(
        performance_mode=cast("PerformanceModeName", performance_mode),
        cool_down_s=cool_down,
        providers=words(provider) or (),
        delegate=delegate,
        delegate_options=delegate_options,
        int8_by=cast("Int8By", int8_by),
        dla_core=dla_core,
        workspace_mib=workspace,
        batch_profile=_profile(batch_profile),
        optimization_level=optimization_level,
        via=cast("Any", via),
    )


def _one_of(option: str, value: str | None, known: tuple[str | None, ...]) -> None:
    if value not in known:
        offered = " or ".join(word for word in known if word)
        raise UsageError(f"{option} {value}: no such choice", f"give {offered}")


def _profile(text: str | None) -> tuple[int, int, int] | None:
    sizes = [
        size for part in (text or "").split(",") if part for size in numbers("--batch-profile", part) or ()
    ]
    if not sizes:
        return None
    if len(sizes) != 3 or sizes != sorted(sizes):
        raise UsageError(
            f"--batch-profile {text}: not least, usual and largest batch size", "for example 1,4,8"
        )
    return sizes[0], sizes[1], sizes[2]
