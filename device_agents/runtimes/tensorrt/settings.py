"""How an engine is wanted: a job's precision and options, checked.

Options, all by name and as text:

    precision_by        flag: a flag of the builder on an fp32 graph (TensorRT up to 10)
                        graph: the graph's own types and Q/DQ pairs
                        calibrator: int8 ranges found on the board (up to 10)
    workspace_mib       scratch memory of the first try, MiB
    batch_profile       least,usual,largest size of the first axis, where the graph leaves it open
    dla_core            which DLA core runs the layers that it can; the GPU runs the others
    optimization_level  0 to 5, where the builder has it
    mixed_fp16          yes: layers without int8 may run in fp16, where int8 is by flag; else they stay fp32
    tf32                yes: fp32 may run as TF32, TensorRT's own default; otherwise fp32 is fp32
"""

from typing import Dict, Mapping, NamedTuple, Optional, Tuple

from device_agents.runtimes.base import BuildFailed

PRECISIONS = ("fp32", "fp16", "int8")
_LEVELS = range(6)


class Settings(NamedTuple):
    """Everything of a job that the engine depends on, beside its files, shapes and workspace."""

    precision: str
    precision_by: str
    batch_profile: Optional[Tuple[int, int, int]] = None
    dla_core: Optional[int] = None
    optimization_level: Optional[int] = None
    mixed_fp16: bool = False
    tf32: bool = False

    def as_details(self) -> Dict[str, str]:
        """What was asked for, without what was not."""
        given = self._asdict().items()
        found = {name: str(value) for name, value in given if value is not None and value is not False}
        if self.batch_profile is not None:
            found["batch_profile"] = ",".join(str(size) for size in self.batch_profile)
        return found


def settings_of(precision: str, options: Mapping[str, str], takes_flags: bool) -> Settings:
    """Raises BuildFailed `invalid_option` or `precision_unsupported`."""
    if precision not in PRECISIONS:
        raise BuildFailed(
            "precision_unsupported",
            "TensorRT has no {}: it builds {}".format(precision, ", ".join(PRECISIONS)),
        )
    default = "graph" if precision == "int8" or not takes_flags else "flag"
    way = options.get("precision_by", default)
    # int8 needs ranges, which a flag alone does not give; floats have nothing to calibrate.
    ways = ("graph", "calibrator") if precision == "int8" else ("flag", "graph")
    if way not in ways:
        raise _invalid("precision_by", way, "{} for {}".format(" or ".join(ways), precision))
    return Settings(
        precision,
        way,
        _profile(options.get("batch_profile")),
        _number(options, "dla_core", 0, 15),
        _number(options, "optimization_level", _LEVELS[0], _LEVELS[-1]),
        _yes(options, "mixed_fp16"),
        _yes(options, "tf32"),
    )


def _profile(text: Optional[str]) -> Optional[Tuple[int, int, int]]:
    if text is None:
        return None
    sizes = [int(word) if word.strip().isdecimal() else 0 for word in text.split(",")]
    if len(sizes) != 3 or not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
        raise _invalid("batch_profile", text, "three sizes in rising order, 1,4,8 say")
    return sizes[0], sizes[1], sizes[2]


def _number(options: Mapping[str, str], name: str, least: int, most: int) -> Optional[int]:
    text = options.get(name)
    if text is None:
        return None
    if not text.isdecimal() or not least <= int(text) <= most:
        raise _invalid(name, text, "a number from {} to {}".format(least, most))
    return int(text)


def _yes(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "no")
    if text not in ("yes", "no"):
        raise _invalid(name, text, "yes or no")
    return text == "yes"


def _invalid(name: str, value: str, wanted: str) -> BuildFailed:
    return BuildFailed("invalid_option", "{} is {!r}; it takes {}".format(name, value, wanted))
