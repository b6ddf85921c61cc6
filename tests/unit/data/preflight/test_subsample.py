from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from byoc_vision.data.preflight.subsample import (
    BUDGET_PER_CORE,
    MOST_CHECKED,
    Sizes,
    choose_samples,
    decoding_cost,
    job_budget,
    measure_sizes,
    with_empty_files,
)
from byoc_vision.data.samples import ByteRange, Sample
from byoc_vision.system.machine import available_cores


def file(path: Path, size: int) -> Path:
    path.write_bytes(b"x" * size)
    return path


def test_files_slices_and_what_is_not_there(tmp_path: Path) -> None:
    record = ByteRange(file(tmp_path / "all.rec", 90), 10, 70, "record 1")
    train = [Sample(file(tmp_path / "a.jpg", 5), file(tmp_path / "a.png", 3)), Sample(record, label=0)]
    gone = [
        Sample(file(tmp_path / "empty.jpg", 0)),
        Sample(tmp_path / "gone.jpg"),
        Sample(record, tmp_path / "gone.png"),
    ]
    found = measure_sizes({"train": train, "test": gone})
    assert found == {"train": [Sizes(5, 3), Sizes(70)], "test": [Sizes(0), Sizes(0), Sizes(70, 0)]}
    assert [sizes.are_empty for split in found.values() for sizes in split] == [False, False, True, True, True]


def test_the_order_of_many_is_kept(tmp_path: Path) -> None:
    samples = [Sample(file(tmp_path / f"{index}.jpg", 1 + index % 37)) for index in range(600)]
    assert [sizes.image for sizes in measure_sizes({"train": samples})["train"]] == [1 + i % 37 for i in range(600)]


@pytest.mark.parametrize(("name", "mask", "cost"), [("a.JPG", None, 80), ("a.jpg", 1, 160), ("a.PNG", None, 20)])
def test_a_mask_costs_as_much_as_its_image(name: str, mask: int | None, cost: int) -> None:
    assert decoding_cost(Sample(Path(name)), Sizes(80, mask)) == cost


def images(split: str, count: int, classes: int = 2) -> list[Sample]:
    return [Sample(Path(f"{split}/{index}.jpg"), label=index % classes) for index in range(count)]


def test_all_are_read_up_to_the_usual_limit() -> None:
    splits = {"train": images("train", MOST_CHECKED - 5), "validation": images("validation", 5)}
    assert choose_samples(splits, None, 0) == splits
    splits["validation"] += images("more", 15_000)
    counts = [len(chosen) for chosen in choose_samples(splits, None, 0).values()]
    assert sum(counts) == 20_000
    assert counts == [round(20_000 * 19_995 / 35_000), round(20_000 * 15_005 / 35_000)]


def test_a_rare_class_is_among_them() -> None:
    samples = [*images("train", 990), Sample(Path("rare.jpg"), label=7)]
    assert Sample(Path("rare.jpg"), label=7) in choose_samples({"train": samples}, 10, seed=3)["train"]


def test_each_of_several_labels_is_among_them() -> None:
    samples = [Sample(Path(f"{index}.jpg"), labels=()) for index in range(200)]
    samples[70] = Sample(Path("both.jpg"), labels=(3, 4))
    assert samples[70] in choose_samples({"train": samples}, 5, seed=0)["train"]


@given(
    st.dictionaries(st.sampled_from(["train", "validation", "test"]), st.integers(1, 80), min_size=1),
    st.integers(1, 100),
    st.integers(0, 9),
)
@example({"train": 1, "validation": 1, "test": 4}, 3, 0)
def test_the_same_seed_draws_the_same_in_their_order(counts: dict[str, int], limit: int, seed: int) -> None:
    splits = {name: images(name, count, classes=5) for name, count in counts.items()}
    chosen = choose_samples(splits, limit, seed)
    assert chosen == choose_samples(splits, limit, seed)
    assert list(chosen) == list(splits)
    assert sum(map(len, chosen.values())) <= max(limit, len(splits))
    for name, samples in chosen.items():
        assert samples
        positions = [splits[name].index(sample) for sample in samples]
        assert positions == sorted(set(positions))


def sized(counts: dict[str, list[int]]) -> tuple[dict[str, list[Sample]], dict[str, list[Sizes]]]:
    splits = {name: images(name, len(costs), classes=3) for name, costs in counts.items()}
    return splits, {name: [Sizes(cost) for cost in costs] for name, costs in counts.items()}


def cost(chosen: dict[str, list[Sample]], splits: dict[str, list[Sample]], sizes: dict[str, list[Sizes]]) -> int:
    return sum(sizes[name][splits[name].index(sample)].image for name in chosen for sample in chosen[name])


BYTES = st.lists(st.integers(0, 90), min_size=1, max_size=60)


class TestBudget:
    @given(
        st.dictionaries(st.sampled_from(["train", "validation", "test"]), BYTES, min_size=1),
        st.integers(1, 4000),
        st.integers(0, 9),
    )
    def test_it_is_kept_and_the_choice_repeats(self, counts: dict[str, list[int]], budget: int, seed: int) -> None:
        splits, sizes = sized(counts)
        chosen = choose_samples(splits, None, seed, sizes=sizes, budget=budget)
        assert chosen == choose_samples(splits, None, seed, sizes=sizes, budget=budget)
        if sum(map(sum, counts.values())) <= budget:
            assert chosen == splits
        else:
            others = {name: samples for name, samples in chosen.items() if len(samples) > 1}
            assert cost(others, splits, sizes) <= budget, "but for one of each split"
        for name, samples in chosen.items():
            positions = [splits[name].index(sample) for sample in samples]
            assert positions
            assert positions == sorted(set(positions))

    def test_it_is_used_up(self) -> None:
        splits, sizes = sized({"train": [10] * 900, "validation": [10] * 100})
        assert [len(chosen) for chosen in choose_samples(splits, None, 0, sizes=sizes, budget=2000).values()] == [
            180,
            20,
        ]

    def test_a_rare_class_is_among_them(self) -> None:
        splits, sizes = sized({"train": [10] * 500})
        splits["train"][137] = Sample(Path("rare.jpg"), label=9)
        assert Sample(Path("rare.jpg"), label=9) in choose_samples(splits, None, 5, sizes=sizes, budget=100)["train"]

    def test_the_number_is_kept_too(self) -> None:
        splits, sizes = sized({"train": [10] * 500})
        assert len(choose_samples(splits, 7, 0, sizes=sizes, budget=4000)["train"]) == 7

    def test_a_job_has_one_for_each_core(self) -> None:
        assert job_budget() == BUDGET_PER_CORE * available_cores()


def test_empty_files_join_those_that_are_read() -> None:
    splits, sizes = sized({"train": [10] * 50, "validation": [10] * 5})
    sizes["train"][30] = Sizes(0)
    sizes["validation"][4] = Sizes(10, 0)
    chosen = choose_samples(splits, 2, 0)
    completed = with_empty_files(chosen, splits, sizes)
    assert set(completed["train"]) == {*chosen["train"], splits["train"][30]}
    assert set(completed["validation"]) == {*chosen["validation"], splits["validation"][4]}
    assert completed["train"] == sorted(completed["train"], key=splits["train"].index)
