"""TensorBoard's files, read with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tracked import evaluation, record_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from torch import nn

from byoc_vision.training.callbacks.tensorboard import MOST_IMAGES, STEP_LOSS, TensorBoard

STEPS = 100  # an epoch


def tensorboard_of(folder: Path, net: nn.Module | None = None) -> TensorBoard:
    return TensorBoard(
        folder / "tensorboard", folder, steps_per_epoch=STEPS, device=torch.device("cpu"), histograms=net
    )


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0}).Reload()


def make_older(folder: Path) -> None:
    """TensorBoard orders the files of jobs by their names, which have the second of the start."""
    for path in (folder / "tensorboard").iterdir():
        *name, seconds, rest = path.name.split(".", 4)
        path.rename(path.with_name(".".join([*name, f"{int(seconds) - 1:010}", rest])))


def curve(events: EventAccumulator, name: str) -> dict[int, float]:
    points = events.Scalars(name)
    assert len({point.step for point in points}) == len(points)
    return {point.step: pytest.approx(point.value, rel=1e-5) for point in points}


def make_step(tensorboard: TensorBoard, *values: float) -> None:
    tensorboard.step_begin()
    for value in values:
        tensorboard.loss_computed(torch.zeros(1), torch.tensor(value))
    tensorboard.step_end()


def test_curves_of_epochs_and_steps(tmp_path: Path) -> None:
    tensorboard = tensorboard_of(tmp_path)
    tensorboard.train_begin(record_of(0))
    for number in (1, 2):
        tensorboard.epoch_begin(number, 0)
        for step in range(STEPS):
            make_step(tensorboard, step + 1.0, step + 3.0)
        tensorboard.epoch_end(record_of(number))
    tensorboard.train_end(record_of(2, test={"accuracy": 0.25}))
    events = read(tmp_path)
    assert curve(events, "train/loss") == {100: 1.0, 200: 0.5}
    assert curve(events, "validation/accuracy") == {100: 0.0, 200: 0.5}
    assert curve(events, "learning_rate") == {100: 0.1, 200: 0.1}
    assert curve(events, "speed/images_per_second") == {100: 50.0, 200: 50.0}
    assert curve(events, "epoch") == {100: 1, 200: 2}
    assert curve(events, STEP_LOSS) == {50: 51, 100: 101, 150: 51, 200: 101}, "the mean of a step's batches"
    assert curve(events, "best/accuracy") == {200: 0.5}
    assert curve(events, "test/accuracy") == {200: 0.25}
    assert "validation/loss" not in events.Tags()["scalars"], "it is not a number"


def test_the_hyperparameters_are_beside_the_final_metrics(tmp_path: Path) -> None:
    tensorboard = tensorboard_of(tmp_path)
    tensorboard.train_begin(record_of(2))
    tensorboard.train_end(record_of(2, {"learning_rate": "0.5", "image_size": "32"}))
    events = read(tmp_path)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["learning_rate"].string_value == "0.5"
    assert told["image_size"].string_value == "32, 32"
    assert told["encoder"].string_value == "-"
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    metrics = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.metric_infos
    assert {metric.name.tag for metric in metrics} <= set(events.Tags()["scalars"])
    assert [path.name for path in (tmp_path / "tensorboard").iterdir() if path.is_dir()] == [], "no run of its own"


def test_a_resumed_job_goes_on_where_it_was(tmp_path: Path) -> None:
    """The first start came to epoch 3, its last checkpoint was in the middle of epoch 2."""
    first = tensorboard_of(tmp_path)
    for number in (1, 2, 3):
        first.epoch_begin(number, 0)
        for _ in range(STEPS):
            make_step(first, 9.0)
        first.epoch_end(record_of(number))
    make_older(tmp_path)
    second = tensorboard_of(tmp_path)
    second.train_begin(record_of(1))
    second.epoch_begin(2, 50)
    for _ in range(50):
        make_step(second, 1.0)
    second.epoch_end(record_of(2))
    events = read(tmp_path)
    assert curve(events, "train/loss") == {100: 1.0, 200: 0.5}
    assert curve(events, STEP_LOSS) == {50: 9, 100: 9, 150: 9, 200: 1}


def test_a_job_that_starts_again_hides_the_one_before(tmp_path: Path) -> None:
    for epochs in (3, 1):
        tensorboard = tensorboard_of(tmp_path)
        for number in range(1, epochs + 1):
            tensorboard.epoch_end(record_of(number))
        make_older(tmp_path)
    assert curve(read(tmp_path), "train/loss") == {100: 1.0}


def test_galleries_are_shown_once_for_each_epoch_they_are_of(tmp_path: Path) -> None:
    tensorboard = tensorboard_of(tmp_path)
    tensorboard.train_begin(record_of(0))
    tensorboard.epoch_end(record_of(1, evaluations=[evaluation(1, tmp_path, MOST_IMAGES + 1)]))
    tensorboard.epoch_end(record_of(2, evaluations=[evaluation(1, tmp_path)]))
    tensorboard.train_end(record_of(3, evaluations=[evaluation(3, tmp_path)]))
    events = read(tmp_path)
    shown = [tag for tag in events.Tags()["images"] if tag.startswith("validation_worst/")]
    assert len(shown) == MOST_IMAGES
    images = events.Images("validation_worst/1")
    assert [image.step for image in images] == [100, 300]
    assert (images[0].width, images[0].height) == (60, 20), "the target beside the image, as large"
    text = events.Tensors("validation_worst/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| 1 | 0.jpg | cat | dog | 0.750 |" in text


def test_an_image_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    tensorboard = tensorboard_of(tmp_path)
    gone = evaluation(1, tmp_path / "elsewhere")
    tensorboard.epoch_end(record_of(1, evaluations=[gone]))
    assert curve(read(tmp_path), "train/loss") == {100: 1.0}
    assert read(tmp_path).Tags()["images"] == []


def test_histograms_of_weights(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).bfloat16()
    tensorboard = tensorboard_of(tmp_path, net=net)
    tensorboard.train_begin(record_of(0))
    tensorboard.epoch_end(record_of(1))
    tensorboard.train_end(record_of(1))
    events = read(tmp_path)
    assert set(events.Tags()["histograms"]) == {
        "weights/0.weight",
        "weights/0.bias",
        "weights/1.weight",
        "weights/1.bias",
    }
    assert events.Histograms("weights/0.weight")[0].histogram_value.num == 108


def test_a_folder_that_cannot_be_written_is_a_warning_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    tensorboard = tensorboard_of(tmp_path)
    tensorboard.train_begin(record_of(0))
    for number in (1, 2):
        tensorboard.epoch_end(record_of(number))
    tensorboard.train_end(record_of(2))
    assert caplog.text.count("are no longer written") == 1


def test_a_job_that_fails_before_it_trains_leaves_the_curves_of_an_earlier_start(tmp_path: Path) -> None:
    first = tensorboard_of(tmp_path)
    first.train_begin(record_of(0))
    first.epoch_end(record_of(1))
    tensorboard_of(tmp_path).train_end(record_of(0, state="failed"))
    assert curve(read(tmp_path), "train/loss") == {100: 1.0}
