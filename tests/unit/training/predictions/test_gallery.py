from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.training.predictions.gallery import Key, Shelf, drawn


@given(st.lists(st.floats(0, 1)), st.integers(0, 5))
def test_a_shelf_keeps_the_first_of_all(ranks: list[float], size: int) -> None:
    shelf: Shelf[int] = Shelf(size)
    keys = [Key(rank, drawn(0, str(index)), str(index), index) for index, rank in enumerate(ranks)]
    made: list[int] = []

    def make(index: int) -> int:
        made.append(index)
        return index

    for index, key in enumerate(keys):
        shelf.put(key, lambda index=index: make(index))
    assert shelf.keys == sorted(keys)[:size]
    assert [shelf.get(key) for key in shelf.keys] == [key.sample_index for key in sorted(keys)[:size]]
    assert len(made) == len(set(made))


def test_nothing_is_made_for_what_is_not_kept() -> None:
    shelf: Shelf[str] = Shelf(1)
    shelf.put(Key(0.1, 0, "a", 0), lambda: "a")
    shelf.put(Key(0.2, 0, "b", 1), lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert shelf.get(Key(0.2, 0, "b", 1)) is None


def test_a_draw_depends_on_seed_and_title_alone() -> None:
    assert drawn(1, "a.jpg") == drawn(1, "a.jpg")
    assert len({drawn(seed, title) for seed in range(3) for title in ("a.jpg", "b.jpg")}) == 6
