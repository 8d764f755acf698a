"""Loggers and calibrators: what a caller derives classes of his own from."""

import sys
import time

from tensorrt._bound import Bound, MustCallInit, enumeration
from tensorrt._generation import SHAPE

CalibrationAlgoType = enumeration("CalibrationAlgoType", SHAPE.enums.get("CalibrationAlgoType", {}))
Severity = enumeration("Severity", SHAPE.enums["ILogger.Severity"])


class ILogger(Bound, metaclass=MustCallInit):
    """Derive from it and define log(severity, msg)."""

    Severity = Severity

    def __init__(self):
        object.__setattr__(self, "_constructed", True)

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)  # a class derived in Python has attributes of its own

    def log(self, severity, msg):
        """Called by the library for each message."""
        raise RuntimeError('Tried to call pure virtual function "ILogger::log"')


class Logger(ILogger):
    """Writes what is at least as severe as `min_severity`."""

    min_severity = None

    def __init__(self, min_severity=Severity.WARNING):
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity, msg):
        """As the real one writes it."""
        if severity <= self.min_severity:
            letter = "FEWIV"[int(severity)]
            stamp = time.strftime("[%m/%d/%Y-%H:%M:%S]")
            sys.stdout.write(f"{stamp} [TRT] [{letter}] {msg}\n")


for _word, _member in Severity.__members__.items():
    setattr(ILogger, _word, _member)


class IInt8Calibrator(Bound, metaclass=MustCallInit):
    """What all calibrators share."""

    _algorithm = ""

    def __init__(self):
        object.__setattr__(self, "_constructed", True)

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)

    def get_batch_size(self):
        """Samples in a batch."""
        raise RuntimeError('Tried to call pure virtual function "get_batch_size"')

    def get_batch(self, names):
        """Device addresses of the next batch, one for each of `names`; None when there is no more."""
        raise RuntimeError('Tried to call pure virtual function "get_batch"')

    def get_algorithm(self):
        """Which rule it calibrates by."""
        return CalibrationAlgoType.__members__[self._algorithm]

    def read_calibration_cache(self):
        """Bytes of an earlier calibration; None if there is none."""
        return

    def write_calibration_cache(self, cache):
        """Keep `cache`, a buffer."""


class IInt8EntropyCalibrator2(IInt8Calibrator):
    """By entropy, the kind DLA wants too."""

    _title, _algorithm = "EntropyCalibration2", "ENTROPY_CALIBRATION_2"


class IInt8EntropyCalibrator(IInt8Calibrator):
    """By entropy, the older kind."""

    _title, _algorithm = "EntropyCalibration", "ENTROPY_CALIBRATION"


class IInt8MinMaxCalibrator(IInt8Calibrator):
    """By the extremes."""

    _title, _algorithm = "MinMaxCalibration", "MINMAX_CALIBRATION"
