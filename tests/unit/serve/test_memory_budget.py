"""What requests may use together: they wait for each other, and what never fits is refused."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from byoc_serve import memory_budget
from byoc_serve.memory_budget import LARGE, SPARE, Claim, MemoryBudget
from byoc_vision.errors import RequestError

SOON = 60.0


def soon() -> float:
    return time.monotonic() + SOON


def test_what_fits_beside_others_is_claimed_at_once() -> None:
    budget = MemoryBudget(100)
    first, second = Claim(budget), Claim(budget)
    assert first.try_take(60)
    assert not second.try_take(50)
    assert second.try_take(40)
    assert budget.claimed == 100
    first.release()
    assert budget.claimed == 40


def test_what_does_not_fit_beside_others_waits_for_them() -> None:
    budget = MemoryBudget(100)
    first, second = Claim(budget), Claim(budget)
    first.take(60, soon())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.take, 50, soon())
        assert not waiting.done()
        first.give_back(60)
        waiting.result(SOON)
    assert budget.claimed == 50


def test_a_large_claim_is_not_overtaken() -> None:
    budget = MemoryBudget(100)
    holder, large, small = Claim(budget), Claim(budget), Claim(budget)
    holder.take(10, soon())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(large.take, 100, soon())
        while not budget._waiting:
            Event().wait(0.001)
        assert not small.try_take(5)
        holder.release()
        waiting.result(SOON)
    large.release()
    assert small.try_take(5)


def test_what_others_hold_until_the_deadline_is_503() -> None:
    budget = MemoryBudget(100)
    Claim(budget).take(60, soon())
    with pytest.raises(RequestError, match="other requests use the memory") as refused:
        Claim(budget).take(50, deadline=time.monotonic())
    assert refused.value.status == 503
    assert Claim(budget).try_take(40), "who gave up does not wait any more"


def test_what_never_fits_is_413() -> None:
    claim = Claim(MemoryBudget(100_000_000))
    for take in (claim.try_take, lambda size: claim.take(size, math.inf), claim.take_for_body):
        with pytest.raises(RequestError, match="needs about 200 MB of memory, and this server has 100 MB") as refused:
            take(200_000_000)
        assert refused.value.status == 413


def test_bodies_leave_half_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "BODY_SECONDS", 0.0)
    claim = Claim(MemoryBudget(100))
    claim.take_for_body(50)
    with pytest.raises(RequestError) as refused:
        claim.take_for_body(1)
    assert refused.value.status == 503
    assert claim.try_take(50)


def test_free_memory_is_measured_before_a_large_claim() -> None:
    free = [SPARE + 4 * LARGE]
    budget = MemoryBudget(None, processes=2, measure=lambda: free[0])
    claim = Claim(budget)
    assert claim.try_take(2 * LARGE)
    assert not claim.try_take(1), "half of it is another process's"
    claim.release()
    free[0] = SPARE + 2 * LARGE
    with pytest.raises(RequestError):
        claim.try_take(2 * LARGE)
    assert claim.try_take(LARGE)


def test_a_system_that_does_not_say_what_is_free_has_no_limit() -> None:
    assert Claim(MemoryBudget(None, measure=lambda: None)).try_take(10**12)


def test_what_is_kept_after_the_release_counts() -> None:
    budget = MemoryBudget(100)
    claim = Claim(budget)
    claim.take(90, soon())
    claim.release()
    claim.keep(30)
    assert budget.claimed == 30
    claim.release()
    assert budget.claimed == 0
