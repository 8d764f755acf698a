"""Shapes of open inputs: the least, usual and largest that an engine is built for."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from device_agents.protocol import TensorSpec
from device_agents.runtimes.base import BuildFailed, LoadFailed, pick

Shape = Tuple[int, ...]
BatchProfile = Optional[Tuple[int, int, int]]


class ShapeRange(NamedTuple):
    """Three shapes of one input."""

    least: Shape
    usual: Shape
    most: Shape


def network_inputs(network: Any) -> Dict[str, Shape]:
    """Shapes of the network's inputs by name; -1 is open."""
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    for tensor in tensors:
        if tensor.is_shape_tensor:
            raise BuildFailed(
                "unsupported_operator",
                "the values of input {!r} decide on shapes, which an engine is not built for here".format(
                    str(tensor.name)
                ),
            )
    return {str(tensor.name): tuple(int(size) for size in tensor.shape) for tensor in tensors}


def fed_inputs(found: Dict[str, Shape], wanted: List[TensorSpec]) -> Dict[str, TensorSpec]:
    """Which of the job's inputs each of the network's is; `found` has the network's shapes.

    Raises BuildFailed where one is missing or its shape does not go with the network's.
    """
    try:
        names = pick(wanted, list(found), "input")
    except LoadFailed as error:
        raise BuildFailed("invalid_model", str(error)) from error
    fed = {names[spec.names[0]]: spec for spec in wanted}
    unfed = [name for name in found if name not in fed]
    if unfed:
        raise BuildFailed("invalid_model", "nothing feeds the model's input {}".format(", ".join(unfed)))
    for name, spec in fed.items():
        if not _goes_with(tuple(spec.shape), found[name]):
            raise BuildFailed(
                "shape_out_of_range",
                "input {!r} of the model is {} and the job feeds {}".format(
                    name, _text(found[name]), _text(tuple(spec.shape))
                ),
            )
    return fed


def shape_ranges(
    found: Dict[str, Shape], fed: Dict[str, TensorSpec], batch_profile: BatchProfile
) -> Dict[str, ShapeRange]:
    """A range for each input of the network that is open somewhere.

    Only first axes range, by `batch_profile`; everything else is as the job will feed it. Raises BuildFailed
    where the job lies outside of the profile.
    """
    return {
        name: _range(name, found[name], tuple(spec.shape), batch_profile)
        for name, spec in fed.items()
        if -1 in found[name]
    }


def _goes_with(shape: Shape, open_shape: Shape) -> bool:
    return len(shape) == len(open_shape) and all(o in (-1, s) for o, s in zip(open_shape, shape))


def _range(name: str, open_shape: Shape, shape: Shape, batch_profile: BatchProfile) -> ShapeRange:
    if batch_profile is None or open_shape[0] != -1:
        return ShapeRange(shape, shape, shape)
    least, usual, most = batch_profile
    if not least <= shape[0] <= most:
        raise BuildFailed(
            "shape_out_of_range",
            "the job feeds input {!r} {} at a time and the batch profile goes from {} to {}".format(
                name, shape[0], least, most
            ),
        )
    return ShapeRange((least,) + shape[1:], (usual,) + shape[1:], (most,) + shape[1:])


def as_text(ranges: Dict[str, ShapeRange]) -> str:
    """As in: image 1x3x8x8 to 4x3x8x8 to 8x3x8x8."""
    return "; ".join(
        "{} {}".format(name, " to ".join(_text(shape) for shape in shapes))
        for name, shapes in sorted(ranges.items())
    )


def optimization_profile(builder: Any, ranges: Dict[str, ShapeRange]) -> Any:
    """A profile of the builder's with these ranges."""
    profile = builder.create_optimization_profile()
    for name, shapes in ranges.items():
        profile.set_shape(name, shapes.least, shapes.usual, shapes.most)
    return profile


def _text(shape: Shape) -> str:
    return "x".join("?" if size == -1 else str(size) for size in shape) or "a scalar"
