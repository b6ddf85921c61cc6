"""Several callbacks as one."""

from __future__ import annotations

import inspect

import pytest

from byoc_vision.training.callback import Callback, Callbacks

EVENTS = {
    name: [*inspect.signature(event).parameters][1:]
    for name, event in vars(Callback).items()
    if inspect.isfunction(event)
}


class Noted(Callback):
    """Notes every event with what comes with it."""

    def __init__(self, name: str, notes: list[tuple[object, ...]]) -> None:
        for event in EVENTS:
            setattr(self, event, lambda *given, event=event: notes.append((name, event, *given)))


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_reaches_all_in_their_order_with_what_comes_with_it(event: str) -> None:
    notes: list[tuple[object, ...]] = []
    getattr(Callbacks([Noted("first", notes), Noted("second", notes)]), event)(*EVENTS[event])
    assert notes == [("first", event, *EVENTS[event]), ("second", event, *EVENTS[event])]
