from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.images import save_image

from byoc_vision.data.preflight.scan import InvalidSample, SampleStats, measure_sample
from byoc_vision.data.samples import ByteRange, MaskMap, Sample


def seen(sample: Sample) -> SampleStats:
    stats = measure_sample(sample)
    assert isinstance(stats, SampleStats), stats
    return stats


def problem(sample: Sample) -> str:
    bad = measure_sample(sample)
    assert isinstance(bad, InvalidSample)
    assert bad.sample is sample
    return bad.problem


def test_an_image(tmp_path: Path) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = (200, 100, 50)
    path = save_image(tmp_path / "a.png", image)
    stats = seen(Sample(path))
    assert (stats.height, stats.width) == (40, 60)
    assert stats.digest == hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    assert stats.mean.tolist() == [100, 50, 25]
    assert stats.std.tolist() == [100, 50, 25]
    assert (stats.darkest, stats.brightest) == (0, 200)
    assert not stats.is_grey
    assert not stats.is_two_tone
    assert stats.mask is None


@pytest.mark.parametrize("side", [1, 7, 1000])
def test_an_image_of_any_size(tmp_path: Path, side: int) -> None:
    stats = seen(Sample(save_image(tmp_path / "a.png", np.full((side, 3), 80, np.uint8))))
    assert stats.mean.tolist() == [80, 80, 80]
    assert stats.std.tolist() == [0, 0, 0]


def test_grey_and_two_tones(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)
    stats = seen(Sample(save_image(tmp_path / "a.png", noise)))
    assert (stats.is_grey, stats.is_two_tone) == (True, False)
    stats = seen(Sample(save_image(tmp_path / "b.png", np.where(noise > 99, 255, 0).astype(np.uint8))))
    assert (stats.is_grey, stats.is_two_tone) == (True, True)


def test_equal_means_do_not_make_an_image_grey(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    for channel in range(3):
        stripes[channel * 16 : (channel + 1) * 16, :, channel] = 90
    stats = seen(Sample(save_image(tmp_path / "a.png", stripes)))
    assert stats.mean[0] == stats.mean[1] == stats.mean[2]
    assert not stats.is_grey


def test_a_mask_after_its_map(tmp_path: Path) -> None:
    image = save_image(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    mask = np.full((4, 5), 2, np.uint8)
    mask[0] = 1
    stored = save_image(tmp_path / "m.png", mask)
    stats = seen(Sample(image, stored, mask_map=MaskMap("map", ((1, 255), (2, 0)))))
    assert stats.mask == ((0, 255), (15, 5))


@pytest.mark.parametrize("held", [{7: 20}, {0: 4, 255: 16}, {0: 1, 3: 9, 255: 10}, {2: 5, 4: 5, 6: 10}])
def test_every_pixel_of_a_mask_is_counted(tmp_path: Path, held: dict[int, int]) -> None:
    image = save_image(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    values = np.repeat(np.array(list(held), np.uint8), list(held.values()))
    mask = save_image(tmp_path / "m.png", values.reshape(4, 5))
    assert seen(Sample(image, mask)).mask == (tuple(held), tuple(held.values()))


def test_a_slice_of_a_larger_file(tmp_path: Path) -> None:
    data = save_image(tmp_path / "a.png", np.zeros((4, 5), np.uint8)).read_bytes()
    (tmp_path / "all.rec").write_bytes(b"....." + data + b"more")
    whole = seen(Sample(ByteRange(tmp_path / "all.rec", 5, len(data), "all.rec, record 1")))
    assert whole.digest == hashlib.blake2b(data, digest_size=16).digest()
    cut = Sample(ByteRange(tmp_path / "all.rec", 5, len(data) - 20, "all.rec, record 1"))
    assert problem(cut).startswith("all.rec, record 1 is cut short")


def test_what_cannot_be_used_is_named_with_the_remedy(tmp_path: Path) -> None:
    image = save_image(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    assert problem(Sample(empty)).endswith("image: it is empty")
    assert "gone.jpg cannot be read: No such file" in problem(Sample(tmp_path / "gone.jpg"))
    small = save_image(tmp_path / "small.png", np.zeros((4, 4), np.uint8))
    assert problem(Sample(image, small)).endswith(
        "small.png has 4 × 4 pixels, its image a.png has 5 × 4; export both in the same size"
    )
    frames = [Image.new("L", (5, 4), value) for value in (0, 255)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert "two.gif has several frames; a mask has one: save one file" in problem(Sample(image, tmp_path / "two.gif"))
