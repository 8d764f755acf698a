"""int8 ranges found on the board, by TensorRT up to 10: entropy calibration over the job's examples."""

import contextlib
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from device_agents.cuda.base import Cuda, CudaError
from device_agents.evaluation import feeds
from device_agents.protocol import Dataset, TensorSpec
from device_agents.runtimes.base import LoadFailed
from device_agents.runtimes.tensorrt.dtypes import fitted
from device_agents.workspace import whole_file


class Examples(NamedTuple):
    """What to calibrate on. `names` maps the network's inputs to the job's, `dtypes` to numpy's types."""

    dataset: Dataset
    path: str
    inputs: List[TensorSpec]
    names: Dict[str, str]
    dtypes: Dict[str, str]


class CalibrationFeeder:
    """Hands TensorRT one batch after the other in device memory, and its table of ranges to a file.

    TensorRT calls this from C++, where an exception would be lost: `fault` keeps the first.
    """

    def __init__(self, cuda: Cuda, examples: Examples, table_path: str) -> None:
        self._cuda = cuda
        self._examples = examples
        self._table_path = table_path
        self._batches: Iterator[Any] = feeds(examples.dataset, examples.path, examples.inputs)
        self._memory: Dict[str, int] = {}
        self._stream = cuda.create_stream()
        self.fault: Optional[Exception] = None
        #: Whether the ranges came from an earlier build's table.
        self.reused = os.path.exists(table_path)

    def batch_size(self) -> int:
        """Examples in a batch, as the job feeds them."""
        shape = self._examples.inputs[0].shape
        return shape[0] if shape else 1

    def next_batch(self, names: List[str]) -> Optional[List[int]]:
        """Device addresses of the next batch, in the order of TensorRT's names; None after the last."""
        try:
            found = next(self._batches, None)
            return None if found is None else [self._placed(name, found[0]) for name in names]
        except (CudaError, LoadFailed, OSError, KeyError, ValueError) as error:
            self.fault = self.fault or error
            return None

    def table(self) -> Optional[bytes]:
        """Ranges found earlier on the same data, model and TensorRT."""
        try:
            with open(self._table_path, "rb") as file:
                return file.read() or None
        except OSError:
            return None

    def keep_table(self, table: Any) -> None:
        """Keep the ranges for the next build; without them it takes longer, so a full disk is let pass."""
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._table_path), mode=0o700, exist_ok=True)
            with whole_file(self._table_path) as file:
                file.write(bytes(table))

    def close(self) -> None:
        """Give the device memory back."""
        for address in self._memory.values():
            self._cuda.free(address)
        self._memory = {}

    def _placed(self, name: str, feed: Dict[str, Any]) -> int:
        array = fitted(feed[self._examples.names[name]], self._examples.dtypes[name], name)
        if name not in self._memory:
            self._memory[name] = self._cuda.allocate(max(1, array.nbytes))
        self._cuda.copy_in(self._memory[name], array, self._stream)
        self._cuda.synchronize(self._stream)
        return self._memory[name]


def make_calibrator(trt: Any, feeder: CalibrationFeeder) -> Any:
    """An IInt8EntropyCalibrator2 over `feeder`."""

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # a class of the board's package
        """TensorRT's questions, passed on."""

        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return feeder.batch_size()

        def get_batch(self, names: List[str], *_of_older_ones: Any) -> Optional[List[int]]:
            return feeder.next_batch([str(name) for name in names])

        def read_calibration_cache(self, *_of_older_ones: Any) -> Optional[bytes]:
            return feeder.table()

        def write_calibration_cache(self, table: Any, *_of_older_ones: Any) -> None:
            feeder.keep_table(table)

    return Calibrator()
