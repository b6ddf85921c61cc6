"""Images and masks are recognised by what the files hold, whatever the folders are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import draw_noise, draw_scene, save_image
from support.trees import dataset_of, touch

from byoc_vision.errors import DataError, InputError


def save_pairs(root: Path, images: str, masks: str, *, count: int = 6, mask_ending: str = "png") -> Path:
    """images, masks: paths with a place for the number and without an ending: `photos/{}`."""
    for index in range(count):
        image, inside = draw_scene(index)
        save_image(root / f"{images.format(index)}.jpg", image)
        save_image(root / f"{masks.format(index)}.{mask_ending}", np.where(inside, 255, 0).astype(np.uint8))
    return root


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("photos/{}", "masks/{}"),
        ("x/{}", "y/{}"),
        ("a_masks_come_second/{}", "z/{}"),
        ("pics/img_{}", "truth/mask_{}"),
        ("data/pics/image{}", "data/truth/mask{}"),
        ("input/ISIC_{}", "output/ISIC_{}_segmentation"),
        ("sat/{}_sat", "drawn/{}_mask"),
        ("img_dir/city/{}", "anything/city/{}"),
        ("a/aachen_{}_leftImg8bit", "b/aachen_{}_gtFine_labelIds"),
        ("images/city/{}", "masks/{}_mask"),
        ("x/city/{}", "y/{}"),
        ("data/{}", "data/{}_mask"),
        ("data/ISIC_{}", "data/ISIC_{}_segmentation"),
        ("{}_rgb", "{}_label"),
        ("{}", "{}"),
        ("images/{}", "masks/{}.jpg"),
        ("data/train_{}", "data/train_{}_anno"),
    ],
)
def test_names_do_not_matter(tmp_path: Path, images: str, masks: str) -> None:
    dataset = dataset_of(save_pairs(tmp_path, images, masks))
    assert dataset.task == "segmentation"
    found = {(sample.image, sample.mask) for sample in dataset.train + dataset.validation}
    assert found == {
        (tmp_path / f"{images.format(index)}.jpg", tmp_path / f"{masks.format(index)}.png") for index in range(6)
    }


def test_masks_saved_as_jpeg_are_masks(tmp_path: Path) -> None:
    assert dataset_of(save_pairs(tmp_path, "photos/{}", "drawn/{}", mask_ending="jpg")).task == "segmentation"


def test_masks_in_a_palette_are_masks(tmp_path: Path) -> None:
    for index in range(3):
        image, inside = draw_scene(index)
        save_image(tmp_path / f"photos/{index}.jpg", image)
        mask = Image.fromarray(inside.astype(np.uint8)).convert("P")
        mask.putpalette([0, 0, 0, 128, 0, 0])
        (tmp_path / "drawn").mkdir(exist_ok=True)
        mask.save(tmp_path / f"drawn/{index}.png")
    assert dataset_of(tmp_path).task == "segmentation"


def test_classes_may_have_files_of_the_same_names(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for index in range(4):
            save_image(tmp_path / f"{kind}/{index}.jpg", draw_noise(24, 24, index))
    assert dataset_of(tmp_path).class_names == ("cat", "dog")


def test_classes_of_drawings_are_not_masks(tmp_path: Path) -> None:
    """Coloured drawings hold few colours, too."""
    for kind, colour in (("circle", (200, 30, 30)), ("square", (30, 30, 200))):
        for index in range(4):
            image = np.zeros((24, 24, 3), np.uint8)
            image[4:16, 4 + index : 16] = colour
            save_image(tmp_path / f"{kind}/{index}.png", image)
    assert dataset_of(tmp_path).class_names == ("circle", "square")


class TestColoursInFoldersOfAnyName:
    COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)

    def save(self, root: Path, *, own_colours: bool = False, mask_width: int = 48) -> Path:
        for index in range(6):
            image, inside = draw_scene(index, width=48)
            colours = np.roll(self.COLOURS + 7 * index, index, axis=1) if own_colours else self.COLOURS
            save_image(root / f"a/{index}.jpg", image)
            save_image(root / f"b/{index}.png", colours[inside * (1 + index % 2)][:, :mask_width])
        return root

    def test_they_are_masks_if_they_share_few_colours(self, tmp_path: Path) -> None:
        dataset = dataset_of(self.save(tmp_path))
        assert dataset.task == "segmentation"
        assert {str(sample.mask) for sample in dataset.train} <= {f"{tmp_path}/b/{index}.png" for index in range(6)}

    @pytest.mark.parametrize("different", [{"own_colours": True}, {"mask_width": 40}])
    def test_drawings_of_other_colours_or_sizes_may_be_a_class(self, tmp_path: Path, different: dict[str, Any]) -> None:
        with pytest.raises(InputError, match="as images and their masks, or as the classes 'a' and 'b'"):
            dataset_of(self.save(tmp_path, **different))


class TestFoldersOfPatients:
    @pytest.fixture
    def sites(self, tmp_path: Path) -> Path:
        for site in ("first", "second"):
            touch(tmp_path, *(f"{site}/{kind}/{n}.png" for kind in ("images", "masks") for n in range(3)))
        return tmp_path

    def test_they_may_be_classes(self, sites: Path) -> None:
        with pytest.raises(InputError, match=r"images/ and masks/, which .* two ways: .* the classes first, second\."):
            dataset_of(sites)

    def test_for_segmentation_all_are_read(self, sites: Path) -> None:
        dataset = dataset_of(sites, task="segmentation")
        pairs = {(str(one.image), str(one.mask)) for one in (*dataset.train, *dataset.validation)}
        assert len(pairs) == 6
        assert (f"{sites}/second/images/2.png", f"{sites}/second/masks/2.png") in pairs

    @pytest.mark.parametrize("choice", [{"task": "classification"}, {"layout": "class_folders"}])
    def test_the_masks_of_classes_are_not_images(self, sites: Path, choice: dict[str, Any]) -> None:
        dataset = dataset_of(sites, **choice)
        assert dataset.class_names == ("first", "second")
        assert {one.image.parent.name for one in (*dataset.train, *dataset.validation)} == {"images"}


def test_images_and_masks_deep_in_folders_are_not_classes(tmp_path: Path) -> None:
    for part in ("first", "second"):
        touch(tmp_path, *(f"{part}/{part}{n}/{kind}/{n}.png" for kind in ("images", "masks") for n in range(3)))
    with pytest.raises(InputError, match=r"holds images and masks, so .* does not look like class folders"):
        dataset_of(tmp_path)


def test_other_folders_of_images_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *(f"{kind}/{n}.png" for kind in ("images", "mask", "depth") for n in range(3)))
    dataset_of(tmp_path)
    assert "the masks of images/ are in mask/; other folders with images are not read: depth/" in caplog.text


class TestTwoReadings:
    @pytest.fixture
    def sketches(self, tmp_path: Path) -> Path:
        """Two folders of black and white drawings with the same names."""
        for kind in ("left", "right"):
            for index in range(4):
                save_image(tmp_path / f"{kind}/{index}.png", np.where(draw_scene(index)[1], 255, 0).astype(np.uint8))
        return tmp_path

    def test_both_are_shown(self, sketches: Path) -> None:
        with pytest.raises(InputError, match=r"as images and their masks, or as the classes 'left' and 'right'.*"):
            dataset_of(sketches)

    @pytest.mark.parametrize("choice", [{"task": "classification"}, {"layout": "class_folders"}])
    def test_the_user_chooses_classes(self, sketches: Path, choice: dict[str, Any]) -> None:
        assert dataset_of(sketches, **choice).class_names == ("left", "right")

    def test_a_third_folder(self, tmp_path: Path) -> None:
        save_pairs(tmp_path, "a/{}", "b/{}")
        for index in range(6):
            save_image(tmp_path / f"c/{index}.jpg", draw_noise(24, 24, index))
        with pytest.raises(InputError, match=r"can be read in two ways: as images in a/ with masks in b/, or as the"):
            dataset_of(tmp_path)

    def test_images_and_masks_are_not_classes_by_task_alone(self, tmp_path: Path) -> None:
        save_pairs(tmp_path, "photos/{}", "drawn/{}")
        with pytest.raises(InputError, match="task is classification, but the data are images with masks"):
            dataset_of(tmp_path, task="classification")
        assert dataset_of(tmp_path, layout="class_folders").class_names == ("drawn", "photos")


def test_names_in_two_forms_of_unicode_pair(tmp_path: Path) -> None:
    touch(tmp_path, "images/caf\u00e9.jpg", "masks/cafe\u0301.png", "images/2.jpg", "masks/2.png")
    dataset = dataset_of(tmp_path)
    assert len(dataset.train + dataset.validation) == 2


class TestMissingMasks:
    def test_some_are_left_out(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        touch(
            tmp_path, *(f"images/{index}.jpg" for index in range(6)), *(f"masks/{index}.png" for index in range(1, 8))
        )
        dataset = dataset_of(tmp_path, on_bad_sample="skip")
        assert len(dataset.train + dataset.validation) == 5
        assert "without a mask, which are left out (on_bad_sample=skip): 1, such as 0.jpg" in caplog.text
        assert "without an image, which are not read: 2, such as 6.png" in caplog.text

    def test_half_of_them_are_too_many(self, tmp_path: Path) -> None:
        touch(tmp_path, "images/1.jpg", "images/2.jpg", "masks/1.png")
        with pytest.raises(DataError, match="1 of 2 images"):
            dataset_of(tmp_path, on_bad_sample="skip")


def test_a_test_split_without_masks_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("train", "val"):
        touch(tmp_path, f"images/{split}/1.jpg", f"masks/{split}/1.png")
    touch(tmp_path, "images/test/1.jpg", "images/test/2.jpg")
    assert list(dataset_of(tmp_path).splits) == ["train", "validation"]
    assert "holds no masks, so the test split is not read" in caplog.text


def test_a_test_split_of_images_alone_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *(f"train/{kind}/{index}.png" for kind in ("images", "masks") for index in range(3)))
    touch(tmp_path, "test/7.png", "test/8.png")
    assert not dataset_of(tmp_path).test
    assert "holds no masks, so the test split is not read" in caplog.text


def test_masks_among_the_images_of_classes(tmp_path: Path) -> None:
    for patient in ("a", "b"):
        touch(tmp_path, *(f"{patient}/{index}{ending}.tif" for index in range(3) for ending in ("", "_mask")))
    with pytest.raises(InputError, match="images and masks in the same folders, such as a/0_mask"):
        dataset_of(tmp_path)
