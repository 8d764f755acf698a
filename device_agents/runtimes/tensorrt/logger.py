"""The logger TensorRT is given: it fills a LogBook."""

from typing import Any

from device_agents.runtimes.tensorrt.log_book import LogBook


def make_logger(trt: Any, book: LogBook) -> Any:
    """An ILogger that writes into `book`; called from C++, where an exception would end the process."""
    severity = trt.ILogger.Severity
    # The frequent ones first; VERBOSE, tens of thousands of lines, goes nowhere.
    takers = (
        (severity.INFO, book.on_info),
        (severity.WARNING, book.on_warning),
        (severity.ERROR, book.on_error),
        (severity.INTERNAL_ERROR, book.on_error),
    )

    class Logger(trt.ILogger):  # type: ignore[misc]  # a class of the board's package
        """Sorts lines by severity."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            """One line of TensorRT's."""
            if level == severity.VERBOSE:
                return
            for known, take in takers:
                if level == known:
                    take(message)

    return Logger()
