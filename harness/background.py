"""Work on threads that do not keep the process alive, so that a second Ctrl-C can leave it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def started(work: Callable[[], T], among: list[Future[T]] | None = None) -> Future[T]:
    """Begin `work` on a thread of its own.

    It is `among` the others before it begins: a Ctrl-C at its very start has to wait for it too.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    thread = threading.Thread(target=run, name="device", daemon=True)
    if among is not None:
        among.append(future)
    try:
        thread.start()
    except BaseException as error:
        if thread.ident is None:  # nobody else will end it
            future.set_exception(error)
        raise
    return future
