"""Which pictures of a large set are read."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from byoc_vision.data.preflight.selection import MOST_CHECKED, select
from byoc_vision.data.samples import Sample


def pictures(split: str, count: int, classes: int = 2) -> list[Sample]:
    return [Sample(Path(f"{split}/{index}.jpg"), label=index % classes) for index in range(count)]


def test_all_are_read_up_to_the_usual_limit() -> None:
    splits = {"train": pictures("train", MOST_CHECKED - 5), "validation": pictures("validation", 5)}
    assert select(splits, None, 0) == splits
    splits["validation"] += pictures("more", 15_000)
    counts = [len(chosen) for chosen in select(splits, None, 0).values()]
    assert sum(counts) == 20_000
    assert counts == [round(20_000 * 19_995 / 35_000), round(20_000 * 15_005 / 35_000)]


def test_a_rare_class_is_among_them() -> None:
    samples = [*pictures("train", 990), Sample(Path("rare.jpg"), label=7)]
    assert Sample(Path("rare.jpg"), label=7) in select({"train": samples}, 10, seed=3)["train"]


def test_each_of_several_labels_is_among_them() -> None:
    samples = [Sample(Path(f"{index}.jpg"), labels=()) for index in range(200)]
    samples[70] = Sample(Path("both.jpg"), labels=(3, 4))
    assert samples[70] in select({"train": samples}, 5, seed=0)["train"]


@given(
    st.dictionaries(st.sampled_from(["train", "validation", "test"]), st.integers(1, 80), min_size=1),
    st.integers(1, 100),
    st.integers(0, 9),
)
@example({"train": 1, "validation": 1, "test": 4}, 3, 0)
def test_the_same_seed_draws_the_same_in_their_order(counts: dict[str, int], limit: int, seed: int) -> None:
    splits = {name: pictures(name, count, classes=5) for name, count in counts.items()}
    chosen = select(splits, limit, seed)
    assert chosen == select(splits, limit, seed)
    assert list(chosen) == list(splits)
    assert sum(map(len, chosen.values())) <= max(limit, len(splits))
    for name, samples in chosen.items():
        assert samples
        positions = [splits[name].index(sample) for sample in samples]
        assert positions == sorted(set(positions))
