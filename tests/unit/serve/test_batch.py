"""The queue before the model, with real threads and a model that can be held."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_serve.batch import (
    Batcher,
    ClientGoneError,
    DeadlineError,
    FatalError,
    Item,
    PendingResult,
    QueueClosedError,
    QueueFullError,
)

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
    """While the model is busy with a first item, whose result is given; items submitted inside must wait."""
    doubler.gate.clear()
    first = batcher.submit(0, later())
    assert doubler.busy.wait(SOON)
    try:
        yield first
    finally:
        doubler.gate.set()


def submit_all(batcher: Batcher[Item, int], items: Iterable[Item]) -> list[PendingResult[int]]:
    return [batcher.submit(item, later()) for item in items]


def later() -> float:
    return time.monotonic() + SOON


def test_a_lone_item_is_computed_alone() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    with running(batcher, doubler):
        assert batcher.submit(21, later()).result(SOON) == 42
    assert doubler.batches == [[21]]


def test_waiting_items_go_together_up_to_the_batch_size() -> None:
    batcher, doubler = Batcher[int, int](batch_size=3, capacity=8), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            answers = [batcher.submit(number, later()) for number in range(1, 6)]
        assert [answer.result(SOON) for answer in answers] == [2, 4, 6, 8, 10]
    assert doubler.batches == [[0], [1, 2, 3], [4, 5]]


def test_many_threads_each_get_their_own_results() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=1000), Doubler()

    def ask(number: int) -> int:
        return sum(result.result(SOON) for result in submit_all(batcher, [number, number + 1]))

    with running(batcher, doubler), ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(500))) == [2 * (2 * number + 1) for number in range(500)]
    assert sum(map(len, doubler.batches)) == 1000
    assert max(map(len, doubler.batches)) <= 8


def test_one_bad_item_fails_alone() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            good, bad, other = submit_all(batcher, [1, -1, 2])
        assert (good.result(SOON), other.result(SOON)) == (2, 4)
        with pytest.raises(ValueError, match="-1 is negative"):
            bad.result(SOON)
    assert doubler.batches == [[0], [1, -1, 2], [1], [-1, 2], [-1], [2]]


def test_a_model_that_loses_a_result_is_an_error() -> None:
    batcher = Batcher[int, int](batch_size=1, capacity=8)
    with running(batcher, lambda numbers: []), pytest.raises(RuntimeError, match="1 images went in"):
        batcher.submit(1, later()).result(SOON)


def test_a_full_queue_refuses_items() -> None:
    batcher, doubler = Batcher[int, int](batch_size=1, capacity=2), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler) as first:
            batcher.wait_for_room()
            second = batcher.submit(1, later())
            with pytest.raises(QueueFullError):
                batcher.submit(2, later())
            with pytest.raises(QueueFullError):
                batcher.wait_for_room(queue_timeout=0.01)
        assert [first.result(SOON), second.result(SOON)] == [0, 2]
    assert doubler.batches == [[0], [1]]


def test_results_make_room() -> None:
    batcher, doubler = Batcher[int, int](batch_size=2, capacity=2), Doubler()
    with running(batcher, doubler):
        for _ in range(3):
            answers = submit_all(batcher, [1, -1])
            assert answers[0].result(SOON) == 2
            assert answers[1].exception(SOON)
            assert batcher.in_flight == 0


def test_submit_waits_for_room() -> None:
    batcher, doubler = Batcher[int, int](batch_size=1, capacity=1), Doubler()
    with running(batcher, doubler), ThreadPoolExecutor(4) as pool:
        with held(batcher, doubler):
            patient = [pool.submit(batcher.submit, number, later(), SOON) for number in range(1, 5)]
        assert [future.result(SOON).result(SOON) for future in patient] == [2, 4, 6, 8]


def test_waiting_for_room_ends_when_the_queue_stops() -> None:
    batcher, doubler = Batcher[int, int](batch_size=1, capacity=1), Doubler()
    with running(batcher, doubler), ThreadPoolExecutor(1) as pool, held(batcher, doubler):
        patient = pool.submit(batcher.submit, 1, later(), SOON)
        batcher.stop()
        with pytest.raises(QueueClosedError):
            patient.result(SOON)


def test_an_item_past_its_deadline_is_skipped() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            late, in_time = batcher.submit(1, time.monotonic() - 1), batcher.submit(2, later())
        with pytest.raises(DeadlineError):
            late.result(SOON)
        assert in_time.result(SOON) == 4
    assert doubler.batches == [[0], [2]]
    assert batcher.in_flight == 0


def test_a_cancelled_item_is_skipped() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            left, kept = submit_all(batcher, [1, 2])
            assert left.cancel()
        assert kept.result(SOON) == 4
    assert doubler.batches == [[0], [2]]
    assert batcher.in_flight == 0


def test_stop_computes_accepted_items_and_accepts_no_more() -> None:
    batcher, doubler = Batcher[int, int](batch_size=2, capacity=8), Doubler()
    with running(batcher, doubler) as thread:
        with held(batcher, doubler) as first:
            answers = submit_all(batcher, [1, 2, 3])
            batcher.stop()
            with pytest.raises(QueueClosedError):
                batcher.submit(4, later())
            with pytest.raises(QueueClosedError):
                batcher.wait_for_room(queue_timeout=SOON)
        thread.join(SOON)
        assert [answer.result(0) for answer in [first, *answers]] == [0, 2, 4, 6]


def test_threads_that_take_single_items_compute_them_side_by_side() -> None:
    batcher = Batcher[int, int](batch_size=8, capacity=8)
    both = Barrier(2, timeout=SOON)

    def compute(numbers: list[int]) -> Sequence[int]:
        assert len(numbers) == 1
        both.wait()  # breaks unless the other thread computes at the same time
        return [2 * number for number in numbers]

    with ThreadPoolExecutor(2) as threads:
        ended = [threads.submit(batcher.run, compute, most=1) for _ in range(2)]
        answers = submit_all(batcher, range(6))
        assert [answer.result(SOON) for answer in answers] == [0, 2, 4, 6, 8, 10]
        batcher.stop()
        for end in ended:
            end.result(SOON)


def test_a_fatal_error_in_one_thread_ends_all() -> None:
    batcher = Batcher[int, int](batch_size=8, capacity=8)

    def break_down(numbers: list[int]) -> Sequence[int]:
        raise FatalError("lost")

    with ThreadPoolExecutor(3) as threads:
        ended = [threads.submit(batcher.run, break_down, most=1) for _ in range(3)]
        (answer,) = submit_all(batcher, [1])
        assert all(isinstance(future.exception(SOON), FatalError) for future in [answer, *ended])


def test_a_queue_stopped_before_it_ran_ends_at_once() -> None:
    batcher, doubler = Batcher[int, int](batch_size=2, capacity=8), Doubler()
    answers = submit_all(batcher, [1])
    batcher.stop()
    batcher.run(doubler)
    assert answers[0].result(0) == 2


class Notes:
    """An observer that keeps every call."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.batches: list[int] = []

    def items_wait(self, items: int) -> None:
        self.waiting.append(items)

    def batch_starts(self, items: int) -> None:
        self.batches.append(items)


def test_the_observer_sees_the_queue_and_the_batches() -> None:
    notes = Notes()
    batcher, doubler = Batcher[int, int](batch_size=2, capacity=8, observer=notes), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            answers = submit_all(batcher, [1, 2, 3])
        assert [answer.result(SOON) for answer in answers] == [2, 4, 6]
    assert notes.batches == [1, 2, 1]
    assert notes.waiting[:7] == [1, 0, 1, 2, 3, 1, 0]
    assert [answer.batch_size for answer in answers] == [2, 2, 1]
    assert all(answer.queue_seconds is not None and 0 < answer.queue_seconds < SOON for answer in answers)


def test_only_one_kind_goes_together_and_the_oldest_goes_first() -> None:
    batcher, doubler = Batcher[int, int](batch_size=3, capacity=16, kind=lambda number: number % 2), Doubler()
    with running(batcher, doubler):
        with held(batcher, doubler):
            answers = submit_all(batcher, [1, 2, 3, 4, 6, 5, 7, 8])
        assert [answer.result(SOON) for answer in answers] == [2, 4, 6, 8, 12, 10, 14, 16]
    assert doubler.batches == [[0], [1, 3, 5], [2, 4, 6], [7], [8]]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 5))
def test_batches_are_of_one_kind_and_keep_the_order_within_a_kind(kinds: list[int], most: int) -> None:
    items = list(enumerate(kinds))
    batches: list[list[tuple[int, int]]] = []
    batcher = Batcher[tuple[int, int], int](batch_size=most, capacity=40, kind=lambda item: item[1])
    answers = submit_all(batcher, items)
    batcher.stop()
    batcher.run(lambda batch: batches.append(batch) or [number for number, _ in batch])
    assert [answer.result(0) for answer in answers] == list(range(len(kinds)))
    assert all(len({kind for _, kind in batch}) == 1 and len(batch) <= most for batch in batches)
    for kind in range(4):
        assert [item for batch in batches for item in batch if item[1] == kind] == [i for i in items if i[1] == kind]
    firsts = [batch[0][0] for batch in batches]
    assert firsts == sorted(firsts), "each batch begins with the oldest that is left"


class Crowded:
    """A model whose memory holds two numbers, and nothing of a batch that failed."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.held: list[weakref.ref[Thread]] = []

    def __call__(self, numbers: list[int]) -> Sequence[int]:
        self.sizes.append(len(numbers))
        assert not any(reference() for reference in self.held), "the memory of a batch that failed is still held"
        memory = Thread()  # as good as any object that can be referred to weakly
        self.held.append(weakref.ref(memory))
        if len(numbers) > 2:
            raise MemoryError("out of memory")
        return [2 * number for number in numbers]


def test_a_batch_too_large_for_the_memory_is_computed_in_smaller_ones() -> None:
    batcher, crowded = Batcher[int, int](batch_size=8, capacity=8), Crowded()
    answers = submit_all(batcher, range(7))
    batcher.stop()
    batcher.run(crowded)
    assert [answer.result(0) for answer in answers] == [0, 2, 4, 6, 8, 10, 12]
    assert crowded.sizes == [7, 3, 1, 2, 4, 2, 2]


def test_a_fatal_error_ends_the_run_and_fails_waiting_items() -> None:
    batcher = Batcher[int, int](batch_size=2, capacity=8)
    answers = submit_all(batcher, [1, 2, 3, 4, 5])
    answers[3].cancel()

    def break_down(numbers: list[int]) -> Sequence[int]:
        assert numbers == [1, 2], "nothing is computed after it"
        raise FatalError("lost")

    with pytest.raises(FatalError, match="lost"):
        batcher.run(break_down)
    for number in (0, 1, 2, 4):
        assert isinstance(answers[number].exception(0), FatalError)
    assert batcher.in_flight == 0
    with pytest.raises(QueueClosedError):
        batcher.submit(6, later())


def test_fail_ends_the_run_from_another_thread() -> None:
    batcher, doubler = Batcher[int, int](batch_size=2, capacity=8), Doubler()
    raised: list[FatalError] = []

    def run() -> None:
        try:
            batcher.run(doubler)
        except FatalError as error:
            raised.append(error)

    thread = Thread(target=run)
    thread.start()
    batcher.fail(FatalError("lost"))
    thread.join(SOON)
    assert [str(error) for error in raised] == ["lost"]


def test_an_item_whose_client_is_gone_is_skipped() -> None:
    batcher, doubler = Batcher[int, int](batch_size=8, capacity=8), Doubler()
    connected = {1: True}
    with running(batcher, doubler):
        with held(batcher, doubler):
            left = batcher.submit(1, later(), is_connected=lambda: connected[1])
            kept = batcher.submit(2, later())
            connected[1] = False
        assert isinstance(left.exception(SOON), ClientGoneError)
        assert kept.result(SOON) == 4
    assert doubler.batches == [[0], [2]]
    assert batcher.in_flight == 0


class TestWaiting:
    def test_a_lone_item_does_not_wait(self) -> None:
        batcher, doubler = Batcher[int, int](batch_size=8, capacity=8, wait=SOON), Doubler()
        with running(batcher, doubler):
            assert batcher.submit(1, later()).result(SOON / 2) == 2

    def test_expected_items_are_waited_for(self) -> None:
        batcher, doubler = Batcher[int, int](batch_size=8, capacity=8, wait=SOON), Doubler()
        with running(batcher, doubler):
            with batcher.expecting():
                first = batcher.submit(1, later())
                second = batcher.submit(2, later())
            assert [answer.result(SOON / 2) for answer in (first, second)] == [2, 4]
        assert doubler.batches == [[1, 2]]

    def test_a_full_batch_does_not_wait(self) -> None:
        batcher, doubler = Batcher[int, int](batch_size=2, capacity=8, wait=SOON), Doubler()
        with running(batcher, doubler), batcher.expecting():
            answers = submit_all(batcher, [1, 2])
            assert [answer.result(SOON / 2) for answer in answers] == [2, 4]

    def test_waiting_has_a_limit(self) -> None:
        batcher, doubler = Batcher[int, int](batch_size=8, capacity=8, wait=0.05), Doubler()
        with running(batcher, doubler), batcher.expecting():
            assert batcher.submit(1, later()).result(SOON) == 2

    def test_stop_does_not_wait(self) -> None:
        batcher, doubler = Batcher[int, int](batch_size=8, capacity=8, wait=SOON), Doubler()
        with batcher.expecting():
            answers = submit_all(batcher, [1])
            batcher.stop()
            batcher.run(doubler)
        assert answers[0].result(0) == 2
