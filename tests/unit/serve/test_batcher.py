"""The queue before the model, with real threads and a model that takes its time when told to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from byoc_serve.batcher import Batcher, DeadlineError, QueueClosedError, QueueFullError

SOON = 30.0  # seconds; far more than any of these takes


class Doubler:
    """A model: doubles numbers, refuses negative ones, and stands still while its gate is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = Event()
        self.gate.set()
        self.busy = Event()

    def __call__(self, numbers: list[int]) -> Sequence[int]:
        self.batches.append(numbers)
        self.busy.set()
        assert self.gate.wait(SOON)
        if min(numbers) < 0:
            raise ValueError(f"{min(numbers)} is negative")
        return [2 * number for number in numbers]


@contextmanager
def running(batcher: Batcher[int, int], compute: Callable[[list[int]], Sequence[int]]) -> Iterator[Thread]:
    thread = Thread(target=batcher.run, args=(compute,))
    thread.start()
    try:
        yield thread
    finally:
        batcher.stop()
        thread.join(SOON)
    assert not thread.is_alive()


@contextmanager
def held(batcher: Batcher[int, int], doubler: Doubler) -> Iterator[Future[int]]:
    """While the model is busy with a first item, whose answer is given; what is submitted inside must wait."""
    doubler.gate.clear()
    (first,) = batcher.submit([0], later())
    assert doubler.busy.wait(SOON)
    try:
        yield first
    finally:
        doubler.gate.set()


def later() -> float:
    return time.monotonic() + SOON


def test_a_lone_item_is_computed_alone() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    with running(batcher, doubler):
        (answer,) = batcher.submit([21], later())
        assert answer.result(SOON) == 42
    assert doubler.batches == [[21]]


def test_what_waits_goes_together_up_to_the_batch_size() -> None:
    batcher, doubler = Batcher[int, int](batch_size=3, capacity=8), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            answers = [batcher.submit([number], later())[0] for number in range(1, 6)]
        assert [answer.result(SOON) for answer in answers] == [2, 4, 6, 8, 10]
    assert doubler.batches == [[0], [1, 2, 3], [4, 5]]


def test_many_threads_each_get_their_own_answer() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=1000), Doubler()

    def ask(number: int) -> int:
        return sum(answer.result(SOON) for answer in batcher.submit([number, number + 1], later()))

    with running(batcher, doubler), ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(500))) == [2 * (2 * number + 1) for number in range(500)]
    assert sum(map(len, doubler.batches)) == 1000
    assert max(map(len, doubler.batches)) <= 8


def test_one_bad_item_fails_alone() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            good, bad, other = batcher.submit([1, -1, 2], later())
        assert (good.result(SOON), other.result(SOON)) == (2, 4)
        with pytest.raises(ValueError, match="-1 is negative"):
            bad.result(SOON)
    assert doubler.batches == [[0], [1, -1, 2], [1], [-1, 2], [-1], [2]]


def test_a_model_that_loses_an_answer_is_found_out() -> None:
    batcher = Batcher[int, int](batch_size=1, capacity=8)
    with running(batcher, lambda numbers: []), pytest.raises(RuntimeError, match="1 pictures went in"):
        batcher.submit([1], later())[0].result(SOON)


def test_a_full_queue_refuses_all_of_a_request() -> None:
    batcher, doubler = Batcher[int, int](batch_size=1, capacity=3), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler) as first:
            answers = batcher.submit([1], later())
            with pytest.raises(QueueFullError):
                batcher.submit([2, 3], later())
            batcher.wait_for_room()
            answers += batcher.submit([4], later())
            with pytest.raises(QueueFullError):
                batcher.wait_for_room(patience=0.01)
        assert [answer.result(SOON) for answer in [first, *answers]] == [0, 2, 8]
    assert doubler.batches == [[0], [1], [4]]


def test_room_comes_back_with_the_answers() -> None:
    batcher, doubler = Batcher[int, int](batch_size=2, capacity=2), Doubler()
    with running(batcher, doubler):
        for _ in range(3):
            answers = batcher.submit([1, -1], later())
            assert answers[0].result(SOON) == 2
            assert answers[1].exception(SOON)
            assert batcher.unanswered == 0


def test_who_has_patience_gets_room_when_there_is_some() -> None:
    batcher, doubler = Batcher[int, int](batch_size=1, capacity=1), Doubler()
    with running(batcher, doubler), ThreadPoolExecutor(4) as pool:
        with held(batcher, doubler):
            patient = [pool.submit(batcher.submit, [number], later(), SOON) for number in range(1, 5)]
        assert [future.result(SOON)[0].result(SOON) for future in patient] == [2, 4, 6, 8]


def test_patience_ends_with_the_queue() -> None:
    batcher, doubler = Batcher[int, int](batch_size=1, capacity=1), Doubler()
    with running(batcher, doubler), ThreadPoolExecutor(1) as pool, held(batcher, doubler):
        patient = pool.submit(batcher.submit, [1], later(), SOON)
        batcher.stop()
        with pytest.raises(QueueClosedError):
            patient.result(SOON)


def test_what_waited_too_long_is_skipped() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            late, in_time = batcher.submit([1], time.monotonic() - 1) + batcher.submit([2], later())
        with pytest.raises(DeadlineError):
            late.result(SOON)
        assert in_time.result(SOON) == 4
    assert doubler.batches == [[0], [2]]
    assert batcher.unanswered == 0


def test_what_was_cancelled_is_skipped() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            left, kept = batcher.submit([1, 2], later())
            assert left.cancel()
        assert kept.result(SOON) == 4
    assert doubler.batches == [[0], [2]]
    assert batcher.unanswered == 0


def test_stopping_answers_what_was_accepted_and_accepts_no_more() -> None:
    batcher, doubler = Batcher[int, int](batch_size=2, capacity=8), Doubler()
    with running(batcher, doubler) as thread:
        with held(batcher, doubler) as first:
            answers = batcher.submit([1, 2, 3], later())
            batcher.stop()
            with pytest.raises(QueueClosedError):
                batcher.submit([4], later())
            with pytest.raises(QueueClosedError):
                batcher.wait_for_room(patience=SOON)
        thread.join(SOON)
        assert [answer.result(0) for answer in [first, *answers]] == [0, 2, 4, 6]


def test_a_queue_stopped_before_it_ran_ends_at_once() -> None:
    batcher, doubler = Batcher[int, int](batch_size=2, capacity=8), Doubler()
    answers = batcher.submit([1], later())
    batcher.stop()
    batcher.run(doubler)
    assert answers[0].result(0) == 2
