"""How large files are, and what decoding them costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc_vision.data.preflight.sizes import Sizes, decoding_cost, measure_sizes
from byoc_vision.data.samples import ByteRange, Sample


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
