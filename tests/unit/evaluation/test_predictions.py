"""What is collected while images are answered: from the file to the answer, by networks reckoned by hand."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import forked
from support.images import decode
from support.predictions import (
    COLOURS,
    as_text,
    card_of,
    collect,
    collect_all,
    collect_together,
    coloured_images,
    masked_images,
    mean_colour,
    print_together,
    reddish,
)

from byoc_vision.data.samples import ByteRange, Sample
from byoc_vision.evaluation.predictions import Key, SplitPredictions, TopExamples, file_title, random_draw
from byoc_vision.inference.overlay import class_colours
from byoc_vision.preprocess import Preprocess


def image(collected: SplitPredictions, name: str | None) -> np.ndarray:
    assert name is not None
    return cv2.imdecode(np.frombuffer(collected.images[name], np.uint8), cv2.IMREAD_COLOR_RGB)


Seen = tuple[dict[str, float], SplitPredictions]


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("masks")
    figures, collected = collect(card_of("segmentation", ("no", "yes")), reddish(), masked_images(folder), folder)
    assert collected is not None
    return figures, collected


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("classes")
    figures, collected = collect(card_of("classification", COLOURS), mean_colour(), coloured_images(folder), folder)
    assert collected is not None
    return figures, collected


class TestMasks:
    def test_it_has_the_metrics_of_the_evaluation(self, masks: Seen) -> None:
        figures, collected = masks
        evaluation = collected.evaluation
        assert (evaluation.split, evaluation.epoch, evaluation.images) == ("validation", 3, 14)
        assert evaluation.metrics == figures
        assert {score.name: score.iou for score in evaluation.classes} == {
            "no": figures["iou_no"],
            "yes": figures["iou_yes"],
        }
        assert np.trace(evaluation.confusion) / np.sum(evaluation.confusion) == pytest.approx(figures["pixel_accuracy"])
        lines = list(collected.lines())
        assert np.mean([float(line[2]) for line in lines]) == pytest.approx(figures["dice"], abs=1e-6)
        assert sum(evaluation.dice_histogram or ()) == len(lines) == 14

    def test_each_image_has_its_line(self, masks: Seen) -> None:
        _, collected = masks
        assert collected.columns == ["split", "file", "dice", "iou_no", "iou_yes", "pixel_accuracy"]
        lines = {line[1]: line for line in collected.lines()}
        assert lines.keys() == {f"images/{index}.png" for index in range(14)}
        # The ellipse of the first is not in its mask, and its colour is red: all that is answered is wrong.
        split, _, dice, iou_no, iou_yes, accuracy = lines["images/0.png"]
        assert (split, float(dice), float(iou_yes)) == ("validation", 0, 0)
        assert float(iou_no) == float(accuracy) < 1

    def test_the_worst_come_first_and_the_best_are_the_best(self, masks: Seen) -> None:
        _, collected = masks
        dice = sorted(float(line[2]) for line in collected.lines())
        galleries = collected.evaluation.galleries
        assert [example.score for example in galleries["worst"]] == pytest.approx(dice[:3], abs=1e-6)
        assert [example.score for example in galleries["best"]] == pytest.approx(dice[:-4:-1], abs=1e-6)
        assert len({example.file for example in galleries["random"]}) == 3

    def test_images_and_masks_are_shown_in_the_same_way(self, masks: Seen) -> None:
        _, collected = masks
        assert len(collected.images) == 3 * 3 * 4
        example = collected.evaluation.galleries["best"][0]
        assert example.image == "validation-best-1-picture.jpg"
        target = decode(collected.images[example.target or ""])
        answer = decode(collected.images[example.prediction or ""])
        size = (example.height, example.width)
        assert target.shape == answer.shape == size == image(collected, example.image).shape[:2]
        assert set(np.unique(target)) == {0, 1}, "class indices in the colours of a palette"
        yes, no = class_colours(2)[1], (0, 0, 0)
        shown = image(collected, example.target)
        assert (shown[target == 1] == yes).all()
        assert (shown[target == 0] == no).all()
        dice = 2 * ((target == 1) & (answer == 1)).sum() / ((target == 1).sum() + (answer == 1).sum())
        assert dice == pytest.approx(example.score, abs=1e-6)

    def test_a_letterbox_is_taken_off(self, tmp_path: Path) -> None:
        rule = Preprocess(height=64, width=64, resize="letterbox")
        config = card_of("segmentation", ("no", "yes"), rule)
        _, collected = collect(config, reddish(), masked_images(tmp_path, 1), tmp_path)
        assert collected is not None
        example = collected.evaluation.galleries["worst"][0]
        seen = image(collected, example.image)
        assert seen.shape[:2] == (32, 48) == (example.height, example.width)
        assert seen.min() > 5, "no border that is black"

    def test_a_mask_that_is_ignored_whole_has_no_accuracy(self, tmp_path: Path) -> None:
        samples = masked_images(tmp_path, 2)
        cv2.imwrite(str(samples[1].mask), np.full((32, 49), 255, np.uint8))
        _, collected = collect(card_of("segmentation", ("no", "yes")), reddish(), samples, tmp_path)
        assert collected is not None
        assert list(collected.lines())[1][2:] == ["1.000000", "", "", ""]


class TestClasses:
    def test_it_has_the_metrics_of_the_evaluation(self, classes: Seen) -> None:
        figures, collected = classes
        evaluation = collected.evaluation
        assert np.trace(evaluation.confusion) / 12 == pytest.approx(figures["accuracy"])
        assert [score.name for score in evaluation.classes] == list(COLOURS)
        assert np.mean([score.f1 for score in evaluation.classes]) == pytest.approx(figures["f1"])
        assert np.mean([score.precision for score in evaluation.classes]) == pytest.approx(figures["precision"])
        assert np.mean([score.recall for score in evaluation.classes]) == pytest.approx(figures["recall"])
        assert sum(entry.images for entry in evaluation.calibration or ()) == 12
        assert 0 < (evaluation.ece or 0) < 1
        rights = [line[-1] for line in collected.lines()]
        assert rights.count("true") / 12 == pytest.approx(figures["accuracy"])

    def test_the_most_confident_mistakes_are_the_worst(self, classes: Seen) -> None:
        galleries = classes[1].evaluation.galleries
        worst, best = galleries["worst"], galleries["best"]
        assert [example.file for example in worst] == ["9.png", "4.png"], "all mistakes, the brightest first"
        assert not any(example.is_right for example in worst)
        assert all(example.is_right for example in best)
        assert worst[0].predicted == [COLOURS[0]]
        assert worst[0].actual == [COLOURS[1]]
        assert (worst[0].probability or 0) > 1 / 3 > (worst[0].actual_probability or 1)
        assert sorted((example.probability for example in best), reverse=True) == [e.probability for e in best]

    def test_one_image_of_one_class_is_enough(self, tmp_path: Path) -> None:
        _, collected = collect(
            card_of("classification", COLOURS), mean_colour(), coloured_images(tmp_path, 1), tmp_path
        )
        assert collected is not None
        scores = collected.evaluation.classes
        assert [score.support for score in scores] == [1, 0, 0]
        assert (scores[1].precision, scores[1].recall, scores[1].f1) == (None, None, None)
        assert collected.evaluation.galleries["worst"] == []

    def test_images_that_cannot_be_read_are_in_nothing(self, tmp_path: Path) -> None:
        samples = coloured_images(tmp_path, 9)
        for sample in samples[:4] + samples[5:]:
            Path(str(sample.image)).write_bytes(b"no image")
        _, collected = collect(
            card_of("classification", COLOURS), mean_colour(), samples, tmp_path, on_bad_sample="skip"
        )
        assert collected is not None
        assert [line[1] for line in collected.lines()] == ["4.png"]
        assert [example.file for example in collected.evaluation.galleries["random"]] == ["4.png"]


def test_several_classes_are_lists(tmp_path: Path) -> None:
    config = card_of("classification", COLOURS, several=True)
    figures, collected = collect(config, mean_colour(), coloured_images(tmp_path, several=True), tmp_path)
    assert collected is not None
    evaluation = collected.evaluation
    assert (evaluation.confusion, evaluation.calibration, evaluation.ece) == (None, None, None)
    precisions = [score.average_precision for score in evaluation.classes if score.average_precision is not None]
    assert np.mean(precisions) == pytest.approx(figures["map"])
    assert np.mean([score.f1 for score in evaluation.classes if score.f1 is not None]) == pytest.approx(figures["f1"])
    line = next(line for line in collected.lines() if line[1] == "1.png")
    assert line[2] == '["<b>red</b>", "green, blue"]'
    right = [example.is_right for example in evaluation.galleries["best"]]
    assert all(right)
    assert not any(example.is_right for example in evaluation.galleries["worst"])


def test_the_random_gallery_follows_from_the_seed(tmp_path: Path) -> None:
    samples, config = coloured_images(tmp_path), card_of("classification", COLOURS)

    def drawn(seed: int, samples: list[Sample]) -> list[str]:
        _, collected = collect(config, mean_colour(), samples, tmp_path, seed=seed)
        assert collected is not None
        return [example.file for example in collected.evaluation.galleries["random"]]

    assert drawn(0, samples) == drawn(0, samples[::-1])
    assert len({tuple(drawn(seed, samples)) for seed in range(3)}) > 1


def test_a_model_that_predicts_nan_is_shown(tmp_path: Path) -> None:
    net = mean_colour()
    net.register_forward_hook(lambda module, inputs, outputs: outputs * math.nan)
    _, collected = collect(card_of("classification", COLOURS), net, coloured_images(tmp_path, 3), tmp_path)
    assert collected is not None
    assert sum(entry.images for entry in collected.evaluation.calibration or ()) == 3
    assert "NaN" not in collected.evaluation.model_dump_json()


def test_file_titles() -> None:
    root = Path("/data/validation")
    assert file_title(root / "cat" / "1.jpg", root) == "cat/1.jpg"
    assert file_title(Path("/elsewhere/1.jpg"), root) == "/elsewhere/1.jpg"
    assert file_title(ByteRange(root / "a.rec", 0, 1, "a.rec, record 1"), root) == "a.rec, record 1"
    assert file_title(Path("no\udcfftext.jpg")) == "no\\udcfftext.jpg"


@pytest.mark.filterwarnings("ignore:.*compute.*before the .*update:UserWarning")
def test_two_processes_together_collect_what_one_does(tmp_path: Path) -> None:
    """Down to the bytes of the images."""
    store, log = str(tmp_path / "store"), tmp_path / "log"
    alone = as_text(collect_all(tmp_path))
    second = forked.start(print_together, 1, store, tmp_path, log=log)
    first = collect_together(0, store, tmp_path)
    assert second.wait(100) == 0, log.read_text()
    assert first == alone
    assert log.read_text().splitlines()[-1] == "[]", "the first process alone tells"


@given(st.lists(st.floats(0, 1)), st.integers(0, 5))
def test_the_first_of_all_are_kept(ranks: list[float], size: int) -> None:
    top: TopExamples[int] = TopExamples(size)
    keys = [Key(rank, random_draw(0, str(index)), str(index), index) for index, rank in enumerate(ranks)]
    made: list[int] = []

    def make(index: int) -> int:
        made.append(index)
        return index

    for index, key in enumerate(keys):
        top.add(key, lambda index=index: make(index))
    assert top.keys == sorted(keys)[:size]
    assert [top.get(key) for key in top.keys] == [key.sample_index for key in sorted(keys)[:size]]
    assert len(made) == len(set(made))


def test_nothing_is_made_for_what_is_not_kept() -> None:
    top: TopExamples[str] = TopExamples(1)
    top.add(Key(0.1, 0, "a", 0), lambda: "a")
    top.add(Key(0.2, 0, "b", 1), lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert top.get(Key(0.2, 0, "b", 1)) is None


def test_a_draw_depends_on_seed_and_title_alone() -> None:
    assert random_draw(1, "a.jpg") == random_draw(1, "a.jpg")
    assert len({random_draw(seed, title) for seed in range(3) for title in ("a.jpg", "b.jpg")}) == 6
