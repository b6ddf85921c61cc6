"""Where threads are, also those that go on while it is asked."""

from __future__ import annotations

from threading import Event, Thread, current_thread

from byoc_vision.system.stacks import stack_of, stacks

SOON = 60.0


def test_the_frames_of_a_thread_that_waits() -> None:
    waits, end = Event(), Event()

    def wait_for_the_end() -> None:
        waits.set()
        end.wait()

    thread = Thread(target=wait_for_the_end)
    thread.start()
    assert waits.wait(SOON)
    stack = stack_of(thread)
    assert "in wait_for_the_end" in stacks()
    end.set()
    thread.join()
    at = next(number for number, line in enumerate(stack) if line[2] == "wait_for_the_end")
    first = wait_for_the_end.__code__.co_firstlineno
    assert stack[at][0] == __file__
    assert first < stack[at][1] <= first + 2
    assert stack[at + 1][2] == "run"  # of threading, which called it
    assert stack_of(thread) == []


def test_the_frames_of_the_thread_that_asks() -> None:
    names = [function for _, _, function in stack_of(current_thread())]
    assert names[:3] == ["stacks", "stack_of", "test_the_frames_of_the_thread_that_asks"]


def test_the_frames_of_a_thread_that_goes_on_are_those_of_one_moment() -> None:
    ended = Event()

    def go_down(levels: int) -> None:
        if levels:
            go_down(levels - 1)

    def go_down_and_up() -> None:
        while not ended.is_set():
            go_down(9)

    thread = Thread(target=go_down_and_up)
    thread.start()
    try:
        seen = [[function for _, _, function in stack_of(thread)] for _ in range(300)]
    finally:
        ended.set()
        thread.join()
    middle = [names[: names.index("go_down_and_up")] for names in seen if "go_down_and_up" in names]
    depths = {names.count("go_down") for names in middle if set(names) <= {"go_down"}}
    assert len(depths) > 1  # it was seen at several places,
    assert max(depths) <= 10  # and never on two ways down at once
