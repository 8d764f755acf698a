"""What many threads ask for at the same moment is done together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from harness.batches import Batches


class Worker:
    """Keeps what it was asked for; the first time it waits until the others have handed in."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = threading.Event()
        self.hindered: Callable[[Sequence[int]], None] = lambda items: None

    def work(self, items: Sequence[int]) -> None:
        self.batches.append(sorted(items))
        self.hindered(items)
        self.go_on.wait(10)


def handed_in(worker: Worker, items: Sequence[int]) -> list[Future[None]]:
    """The first item in its own turn, the others while that lasts."""
    batches = Batches(worker.work)
    with ThreadPoolExecutor(len(items)) as threads:
        asked = []
        for number, item in enumerate(items):
            asked.append(threads.submit(batches.do, item))
            while batches.waiting <= number or not worker.batches:
                time.sleep(0.0005)
        worker.go_on.set()
    assert batches.waiting == 0
    return asked


def test_what_comes_while_others_are_done_shares_the_next_turn() -> None:
    worker = Worker()
    for asked in handed_in(worker, range(6)):
        asked.result()
    assert worker.batches == [[0], [1, 2, 3, 4, 5]]


def test_an_item_that_cannot_be_done_fails_alone() -> None:
    worker = Worker()

    def not_three(items: Sequence[int]) -> None:
        if 3 in items:
            raise ValueError("three")

    worker.hindered = not_three
    asked = handed_in(worker, range(5))
    assert [type(each.exception()).__name__ for each in asked] == ["NoneType"] * 3 + [
        "ValueError",
        "NoneType",
    ]
    assert worker.batches == [[0], [1, 2, 3, 4], [1], [2], [3], [4]]


def test_whoever_is_interrupted_while_doing_it_for_others_lets_nobody_down() -> None:
    worker = Worker()

    def ctrl_c(items: Sequence[int]) -> None:
        if len(items) > 1:
            worker.hindered = lambda items: None
            raise KeyboardInterrupt

    worker.hindered = ctrl_c
    asked = handed_in(worker, range(4))
    assert sum(isinstance(each.exception(), KeyboardInterrupt) for each in asked) == 1
    assert set().union(*worker.batches[2:]) == {1, 2, 3}


def test_one_after_the_other_is_done_at_once() -> None:
    worker = Worker()
    worker.go_on.set()
    batches = Batches(worker.work)
    for item in range(3):
        batches.do(item)
    assert worker.batches == [[0], [1], [2]]
