"""The network beside the weights: made where it answers as PyTorch does, used where it still belongs to the weights.

Each test names the precision it tests, so that it says the same on every processor. One that cannot compute bfloat16
computes in float32 where bfloat16 is asked for.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from support.disks import files_of_at_most
from support.engines import FLOAT32, openvino_name
from support.images import draw_noise
from support.modes import folder_for_all, mode, umask, without_root
from support.servers import save_classifier, save_segmenter
from torch import Tensor, nn

from byoc_vision import artifact
from byoc_vision.artifact import OPENVINO_FOLDER, ModelConfig
from byoc_vision.checksums import CHECKSUMS_FILE
from byoc_vision.errors import DataError, InputError, UserError
from byoc_vision.inference import openvino_model
from byoc_vision.inference.engines.base import EnginePrecision, NamedPrecision
from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine, choose_streams
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Classification, Predictor, Segmentation
from byoc_vision.inference.reference import MOST_POINTS, points, reference_images
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.machine import has_bfloat16

# How far a probability may lie from PyTorch's in float32, and the share of a mask's pixels that are the same. The
# networks are untrained: their probabilities are near 0.5, where the smallest difference moves a pixel.
CLOSE: dict[EnginePrecision, float] = {"float32": 1e-4, "bfloat16": 0.02}
SAME_PIXELS: dict[EnginePrecision, float] = {"float32": 0.999, "bfloat16": 0.95}

BARE = [CHECKSUMS_FILE, artifact.CONFIG_FILE, artifact.WEIGHTS_FILE]  # an artifact without the network beside it

in_each_precision = pytest.mark.parametrize("precision", ["float32", "bfloat16"])


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with its network beside it."""
    folder = tmp_path_factory.mktemp("segmenter")
    config = save_segmenter(folder, size=32)
    openvino_model.write(folder, config, TorchEngine.load(folder, config, "cpu").net)
    return folder


@pytest.fixture
def image() -> np.ndarray:
    return draw_noise(50, 70)


def reference(folder: Path) -> Predictor:
    """PyTorch in float32: what all else is compared with."""
    return Predictor.load(folder, "cpu", engine="torch", precision="float32")


@in_each_precision
def test_a_mask_is_the_one_that_pytorch_gives(segmenter: Path, image: np.ndarray, precision: NamedPrecision) -> None:
    ours, theirs = Predictor.load(segmenter, "cpu", precision=precision), reference(segmenter)
    assert isinstance(ours.engine, OpenVinoEngine)
    assert isinstance(theirs.engine, TorchEngine)
    assert ours.engine.name == openvino_name(segmenter, precision)
    for count in (1, 3):
        one, other = (predictor.predict([image] * count)[-1] for predictor in (ours, theirs))
        assert isinstance(one, Segmentation)
        assert isinstance(other, Segmentation)
        assert (one.labels == other.labels).mean() > SAME_PIXELS[precision]
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=CLOSE[precision])


def test_auto_is_what_is_measured_to_be_fastest(segmenter: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        name = Predictor.load(segmenter, "cpu").engine.name
    found = re.search(r"OpenVINO: float32 [\d.]+ ms, bfloat16 [\d.]+ ms per image; (\w+) serves", caplog.text)
    assert (found is not None) == (has_bfloat16() and openvino_name(segmenter, "bfloat16") != FLOAT32)
    assert name == (f"OpenVINO {found[1]}" if found else FLOAT32)


@in_each_precision
def test_a_named_precision_is_not_measured(
    segmenter: Path, caplog: pytest.LogCaptureFixture, precision: EnginePrecision
) -> None:
    with caplog.at_level(logging.INFO):
        Predictor.load(segmenter, "cpu", precision=precision)
    assert "per image" not in caplog.text


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_where_bfloat16_answers_something_else_openvino_computes_in_float32(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, precision: EnginePrecision
) -> None:
    """The classes' weights differ by a thousandth: float32 tells them apart, bfloat16 does not."""
    config = save_classifier(tmp_path)
    state = artifact.read_weights(tmp_path)
    state["fc.weight"] = 1 + 1e-3 * torch.arange(3.0)[:, None].expand_as(state["fc.weight"]).contiguous()
    artifact.save(tmp_path, config, state)
    openvino_model.write(tmp_path, config, TorchEngine.load(tmp_path, config, "cpu").net)
    asked = precision == "bfloat16" or has_bfloat16()
    tried = asked and openvino_name(tmp_path, "bfloat16") == "OpenVINO bfloat16"
    with caplog.at_level(logging.WARNING):
        assert Predictor.load(tmp_path, "cpu", precision=precision).engine.name == FLOAT32
    assert ("OpenVINO bfloat16 does not compute what PyTorch does" in caplog.text) == tried
    assert ("; OpenVINO computes in float32 instead" in caplog.text) == tried


@in_each_precision
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_images_apart_are_answered_as_together(segmenter: Path, count: int, precision: EnginePrecision) -> None:
    """Whatever the size of the batch, each answer is its own image's: those of two images are 0.5 apart on average.

    With AMX, the kernels for one image and for several round differently in bfloat16.
    """
    together, apart = (
        Predictor.load(segmenter, "cpu", threads=2, streams=streams, precision=precision).engine for streams in (1, 3)
    )
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    for engine in (together, apart):
        engine.warm_up(images)
    tolerance = {"rtol": 1e-3, "atol": 0.05 if precision == "bfloat16" else 1e-4}
    np.testing.assert_allclose(apart.run(images), together.run(images), **tolerance)
    backwards = apart.run(images[::-1].copy())
    np.testing.assert_allclose(backwards[::-1], together.run(images), **tolerance)


def test_images_that_are_views_or_not_writable_are_answered_as_others(segmenter: Path) -> None:
    engine = Predictor.load(segmenter, "cpu", threads=2, streams=2, precision="float32").engine
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)[:, :, ::2]
    expected = engine.run(images.copy())
    np.testing.assert_array_equal(engine.run(images), expected)
    images = images.copy()
    images.flags.writeable = False
    np.testing.assert_array_equal(engine.run(images), expected)


def test_threads_at_the_same_time_get_the_answers_of_their_own_images(segmenter: Path) -> None:
    together, apart = (
        Predictor.load(segmenter, "cpu", threads=2, streams=streams, precision="float32").engine for streams in (1, 2)
    )
    images = np.random.default_rng(0).integers(0, 256, (24, 1, 32, 32, 3), dtype=np.uint8)
    with ThreadPoolExecutor(apart.streams) as threads:
        answers = list(threads.map(apart.run, images))
    for image, answer in zip(images, answers, strict=True):
        np.testing.assert_allclose(answer, together.run(image), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (2, 2), (4, 4), (8, 4), (16, 4), (32, 8)])
def test_lanes_for_so_many_cores(threads: int, streams: int) -> None:
    assert choose_streams(threads) == streams


@in_each_precision
def test_so_are_the_probabilities_of_classes(tmp_path: Path, image: np.ndarray, precision: EnginePrecision) -> None:
    config = save_classifier(tmp_path)
    openvino_model.write(tmp_path, config, TorchEngine.load(tmp_path, config, "cpu").net)
    ours = Predictor.load(tmp_path, "cpu", engine="openvino", precision=precision)
    one, other = (predictor.predict([image])[0] for predictor in (ours, reference(tmp_path)))
    assert isinstance(one, Classification)
    assert isinstance(other, Classification)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=CLOSE[precision])


def test_it_is_loaded_and_asked_without_torch(segmenter: Path) -> None:
    program = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom byoc_vision.inference.predictor import Predictor\n"
        f"predictor = Predictor.load(Path({str(segmenter)!r}))\npredictor.warm_up(2)\n"
        "assert predictor.predict([np.zeros((40, 30, 3), np.uint8)])[0].mask.shape == (40, 30)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "openvino" in done.stdout.split()
    assert not {"torch", "torchvision", "pandas", "matplotlib", "scipy", "albumentations"} & set(done.stdout.split())


def test_it_may_be_given_up_in_another_thread(segmenter: Path) -> None:
    """OpenVINO took the stack that the first thread's signals are handled on with it: the next signal was the end."""
    program = (
        "import signal, subprocess, sys, threading\nfrom pathlib import Path\n"
        "from byoc_vision.inference.predictor import Predictor\n"
        "held = [Predictor.load(Path(sys.argv[1]), 'cpu')]\n"
        "thread = threading.Thread(target=held.clear)\nthread.start()\nthread.join()\n"
        "signal.signal(signal.SIGCHLD, lambda *_: None)\nsubprocess.run(['true'], check=True)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(segmenter)]).returncode == 0


def test_its_modes_are_those_that_the_umask_gives(tmp_path: Path) -> None:
    with umask(0o027):
        save_classifier(tmp_path, for_cpus=True)
    form = tmp_path / OPENVINO_FOLDER
    assert (mode(form), {mode(path) for path in form.iterdir()}) == (0o750, {0o640})


@pytest.mark.parametrize("name", [artifact.WEIGHTS_FILE, OPENVINO_FOLDER])
def test_one_that_may_not_be_read_is_named_with_the_remedy(name: str) -> None:
    with folder_for_all() as folder:
        save_classifier(folder, for_cpus=True)
        (folder / name).chmod(0)
        with without_root(), pytest.raises(DataError, match=f"{name}.* may not be read by user .*chmod -R a"):
            Predictor.load(folder, "cpu")


def test_one_of_other_weights_is_not_used(segmenter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config, state = artifact.load(segmenter)
    artifact.save(tmp_path, config, {name: tensor * 2 for name, tensor in state.items()})
    (tmp_path / OPENVINO_FOLDER).mkdir()
    for file in (segmenter / OPENVINO_FOLDER).iterdir():
        (tmp_path / OPENVINO_FOLDER / file.name).write_bytes(file.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert isinstance(Predictor.load(tmp_path, "cpu").engine, TorchEngine)
    assert "made from other weights" in caplog.text


def test_saving_other_weights_removes_it(segmenter: Path, tmp_path: Path) -> None:
    config, state = artifact.load(segmenter)
    artifact.save(tmp_path, config, state)
    openvino_model.write(tmp_path, config, TorchEngine.load(tmp_path, config, "cpu").net)
    assert (tmp_path / OPENVINO_FOLDER / openvino_model.MODEL_FILE).is_file()
    artifact.save(tmp_path, config, state)
    assert sorted(path.name for path in tmp_path.iterdir()) == BARE


def test_one_that_answers_something_else_is_not_used(
    segmenter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, state = artifact.load(segmenter)
    artifact.save(tmp_path, config, state)
    openvino_model.write(tmp_path, config, TorchEngine.load(tmp_path, config, "cpu").net)
    reference = tmp_path / OPENVINO_FOLDER / openvino_model.REFERENCE_FILE
    with np.load(reference) as content:
        np.savez(
            reference,
            **{name: content[name] + (name == "logits_1") * 5.0 for name in content if name.startswith("l")},
            weights=content["weights"],
        )
    (tmp_path / CHECKSUMS_FILE).unlink()
    with caplog.at_level(logging.WARNING):
        assert Predictor.load(tmp_path, "cpu").engine.name == "torch float32"
    assert "OpenVINO float32 does not compute what PyTorch does" in caplog.text
    with pytest.raises(DataError, match="does not compute what PyTorch does"):
        Predictor.load(tmp_path, "cpu", engine="openvino")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage", "has_checksums"),
    [
        *itertools.product(openvino_model.FILES, [cut, flip, empty, Path.unlink], [True]),
        # Without checksums a bit flipped in the weights may stay within the tolerance.
        *itertools.product(openvino_model.FILES, [cut, empty, Path.unlink], [False]),
    ],
)
def test_damaged_beside_good_weights_pytorch_takes_its_place(
    segmenter: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: Callable[[Path], None],
    has_checksums: bool,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(segmenter, folder)
    damage(folder / OPENVINO_FOLDER / name)
    if not has_checksums:
        (folder / CHECKSUMS_FILE).unlink()
    with caplog.at_level(logging.WARNING):
        assert Predictor.load(folder, "cpu").engine.name == "torch float32"
    assert "PyTorch computes in float32 instead" in caplog.text


def test_damaged_openvino_is_made_again_if_asked_for(
    segmenter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(segmenter, folder)
    cut(folder / OPENVINO_FOLDER / openvino_model.WEIGHTS_OF_MODEL_FILE)
    with caplog.at_level(logging.WARNING):
        assert Predictor.load(folder, "cpu", engine="openvino").engine.name.startswith("OpenVINO")
    assert "model.bin is damaged or was changed" in caplog.text
    assert "OpenVINO computes what it makes of the weights instead" in caplog.text


def test_its_files_are_in_the_checksums(segmenter: Path) -> None:
    listed = json.loads((segmenter / CHECKSUMS_FILE).read_text())["files"]
    form = {f"{OPENVINO_FOLDER}/{path.name}" for path in (segmenter / OPENVINO_FOLDER).iterdir()}
    assert set(listed) == {artifact.CONFIG_FILE, artifact.WEIGHTS_FILE} | form


class Fickle(nn.Module):
    """Answers differently each time."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.rand_like(x[:, :1])


def test_nothing_is_written_that_answers_something_else(tmp_path: Path) -> None:
    config = save_segmenter(tmp_path, size=32)
    level, filters = logging.getLogger().level, list(logging.getLogger().filters)
    with pytest.raises(UserError):
        openvino_model.write(tmp_path, config, Fickle())
    assert (logging.getLogger().level, logging.getLogger().filters) == (level, filters), "others still warn"
    assert sorted(path.name for path in tmp_path.iterdir()) == BARE


@in_each_precision
def test_openvino_makes_it_where_it_is_not_there(tmp_path: Path, image: np.ndarray, precision: EnginePrecision) -> None:
    save_segmenter(tmp_path, size=32)
    assert Predictor.load(tmp_path, "cpu").engine.name == "torch float32"
    predictor = Predictor.load(tmp_path, "cpu", engine="openvino", precision=precision)
    assert predictor.engine.name.startswith("OpenVINO")
    one, other = predictor.predict([image])[0], reference(tmp_path).predict([image])[0]
    assert isinstance(one, Segmentation)
    assert isinstance(other, Segmentation)
    assert (one.labels == other.labels).mean() > SAME_PIXELS[precision]


def test_openvino_is_not_for_gpus(segmenter: Path) -> None:
    with pytest.raises(InputError, match="computes on the CPU, not on cuda:0"):
        Predictor.load(segmenter, "cuda:0", engine="openvino")


def test_the_reference_image_is_the_same_everywhere() -> None:
    image = reference_images(Preprocess(height=3, width=4))[:1]
    assert image.shape == (1, 3, 4, 3)
    assert image[0, :, :, 1].tolist() == [[0, 3, 6, 9], [5, 8, 11, 14], [10, 13, 16, 19]]


def test_of_masks_enough_points_are_compared(segmenter: Path) -> None:
    config: ModelConfig = artifact.read_config(segmenter)
    kept = points([np.zeros((3, 700, 500))] * 2)
    assert kept[0].size <= 3 * MOST_POINTS * 1.1
    assert kept[1].size <= 3 * MOST_POINTS / 4 * 1.1
    assert points([np.zeros((1, config.preprocess.height, config.preprocess.width))])[0].size == 32 * 32


def test_a_copy_that_does_not_fit_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = save_segmenter(tmp_path, size=32)
    with files_of_at_most(2**12):
        openvino_model.export_openvino(tmp_path)
    assert "The model has no OpenVINO form" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == BARE
    assert artifact.load(tmp_path)[0] == config


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    openvino_model.export_openvino(tmp_path / "gone")
    assert "The model has no OpenVINO form" in caplog.text
