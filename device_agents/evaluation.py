"""Running examples through the timed engine: check inputs against the reference, datasets for accuracy."""

from typing import Any, Dict, Iterator, List

from device_agents.protocol import BlobRef, Dataset, TensorSpec
from device_agents.runtimes.base import Engine
from device_agents.workspace import file_ref, whole_file


def first_example(dataset: Dataset, path: str, inputs: List[TensorSpec]) -> Dict[str, Any]:
    """The inputs that are timed: the first complete example."""
    feed: Dict[str, Any] = next(feeds(dataset, path, inputs))[0]
    return feed


def run_all(engine: Engine, dataset: Dataset, path: str, inputs: List[TensorSpec], target: str) -> BlobRef:
    """Outputs of every example as an .npz of (examples, *output shape) arrays, written to `target`.

    Arrays go by the position of their tensor in the job (array_0, array_1, ...): its name may be anything.
    Stacked examples go in batches; the last batch is filled up by repeating its last example, and what
    that adds to the outputs is cut off again.
    """
    import numpy as np

    collected: Dict[str, List[Any]] = {}
    for feed, kept in feeds(dataset, path, inputs):
        for name, array in engine.run(feed).items():
            # Runtimes may reuse the memory of their outputs, so each is copied before the next run.
            piece = np.array(array)[:kept] if dataset.stacked else np.array(array)[np.newaxis]
            collected.setdefault(name, []).append(piece)
    with whole_file(target) as file:
        arrays: Dict[str, Any] = {
            f"array_{i}": np.concatenate(pieces) for i, pieces in enumerate(collected.values())
        }
        np.savez(file, **arrays)
    return file_ref(target)


def feeds(dataset: Dataset, path: str, inputs: List[TensorSpec]) -> Iterator[Any]:
    """Each feed, by the inputs' canonical names, with how many examples of it count."""
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        arrays = {spec.names[0]: archive[f"array_{i}"] for i, spec in enumerate(inputs)}
    if not dataset.stacked:
        for index in range(dataset.examples):
            # asarray: indexing a scalar input gives a numpy scalar, which runtimes do not take
            yield {name: np.asarray(array[index]) for name, array in arrays.items()}, 1
        return
    batch = inputs[0].shape[0]
    for start in range(0, dataset.examples, batch):
        kept = min(batch, dataset.examples - start)
        feed = {}
        for name, array in arrays.items():
            block = array[start : start + kept]
            if kept < batch:
                block = np.concatenate([block, np.repeat(block[-1:], batch - kept, axis=0)])
            feed[name] = np.ascontiguousarray(block)
        yield feed, kept
