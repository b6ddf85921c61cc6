"""Networks in INT8: near float32, the same on all processors, and made without a word to anyone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
from support import tiny_models

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError
from byoc_vision.export.openvino import to_openvino
from byoc_vision.hyperparameters import parse
from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine
from byoc_vision.inference.reference import reference_images
from byoc_vision.preprocess import Preprocess
from byoc_vision.training.quantization import check_int8, layers, quantize, sections

RULE = Preprocess(height=64, width=64)
TASKS = {
    "masks": tiny_models.segmentation_card(RULE),
    "classes": tiny_models.classification_card(RULE),
    "several classes": tiny_models.classification_card(RULE, multi_label=True),
}
IMAGES = list(reference_images(RULE))


@pytest.fixture(scope="module")
def network() -> openvino.Model:
    return to_openvino(tiny_models.network(TASKS["masks"]), TASKS["masks"])


def run(model: openvino.Model) -> np.ndarray:
    return OpenVinoEngine(model, precision="int8").run(np.stack(IMAGES))


@pytest.mark.parametrize("task", TASKS)
def test_logits_are_near_those_in_float32(task: str) -> None:
    model = to_openvino(tiny_models.network(TASKS[task]), TASKS[task])
    expected = OpenVinoEngine(model, precision="float32").run(np.stack(IMAGES))
    found = run(quantize(model, IMAGES))
    assert found.shape == expected.shape
    assert 0 < np.sqrt(np.mean((found - expected) ** 2)) < 0.25 * expected.std()


def test_layers_that_are_left_out_bring_it_nearer(network: openvino.Model) -> None:
    expected = OpenVinoEngine(network, precision="float32").run(np.stack(IMAGES))
    names = layers(network)
    distances = [
        float(np.mean((run(quantize(network, IMAGES, names[:count])) - expected) ** 2))
        for count in (0, len(names) // 2, len(names))
    ]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] == pytest.approx(0, abs=1e-8)


def test_a_network_that_is_left_out_whole_is_float32() -> None:
    """Squeeze-and-excitation multiplies what hard-swish gives: neither is a layer."""
    config = tiny_models.classification_card(RULE, name="mobilenetv3_small_050")
    model = to_openvino(tiny_models.network(config), config)
    expected = OpenVinoEngine(model, precision="float32").run(np.stack(IMAGES))
    parts = sections(model, 4)
    assert all(set(part).intersection(layers(model)) for part in parts)
    everything = [name for part in parts for name in part]
    np.testing.assert_allclose(run(quantize(model, IMAGES, everything)), expected, atol=1e-4 * expected.std())
    assert np.abs(run(quantize(model, IMAGES, layers(model))) - expected).max() > 1e-2 * expected.std()


def test_the_network_itself_does_not_change(network: openvino.Model) -> None:
    before = OpenVinoEngine(network, precision="float32").run(np.stack(IMAGES))
    quantize(network, IMAGES)
    np.testing.assert_array_equal(OpenVinoEngine(network, precision="float32").run(np.stack(IMAGES)), before)


@pytest.fixture(scope="module")
def int8_file(network: openvino.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("int8") / "int8.xml"
    openvino.save_model(quantize(network, IMAGES), file, compress_to_fp16=False)
    return file


def run_with(isa: str, file: Path, folder: Path) -> np.ndarray:
    """The logits by instructions that this processor has, up to `isa`."""
    program = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine\n"
        "engine = OpenVinoEngine(Path(sys.argv[1]), precision='int8')\n"
        "np.save(sys.argv[3], engine.run(np.load(sys.argv[2])))\n"
    )
    images, logits = folder / "images.npy", folder / "logits.npy"
    np.save(images, np.stack(IMAGES))
    command = [sys.executable, "-c", program, file, images, logits]
    subprocess.run(command, check=True, env=os.environ | {"ONEDNN_MAX_CPU_ISA": isa})
    return np.load(logits)


@pytest.fixture(scope="module")
def with_vnni(int8_file: Path) -> np.ndarray:
    return run_with("AVX512_CORE_VNNI", int8_file, int8_file.parent)


@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
def test_processors_without_vnni_compute_the_same(
    int8_file: Path, with_vnni: np.ndarray, tmp_path: Path, isa: str
) -> None:
    """Without VNNI sums of products have 16 bits, and must not overflow them."""
    np.testing.assert_allclose(run_with(isa, int8_file, tmp_path), with_vnni, atol=1e-2 * with_vnni.std())


def test_this_processor_is_as_near_to_float32(network: openvino.Model, int8_file: Path, with_vnni: np.ndarray) -> None:
    """With AMX some values are rounded to the other one of their neighbours."""
    float32 = OpenVinoEngine(network, precision="float32").run(np.stack(IMAGES))
    here = OpenVinoEngine(int8_file, precision="int8").run(np.stack(IMAGES))
    assert np.std(here - float32) < 1.05 * np.std(with_vnni - float32)
    assert np.std(here - with_vnni) < 0.05 * float32.std()


def test_nothing_is_printed_and_nothing_reported(network: openvino.Model, capfd: pytest.CaptureFixture[str]) -> None:
    quantize(network, IMAGES)
    assert "".join(capfd.readouterr()) == ""
    assert sys.modules["openvino_telemetry"] is None


def test_the_job_still_logs_afterwards(network: openvino.Model, caplog: pytest.LogCaptureFixture) -> None:
    quantize(network, IMAGES)
    logging.getLogger("byoc_vision.training").warning("one more epoch")
    assert "one more epoch" in caplog.text


def test_a_network_that_cannot_be_quantised_is_named_with_the_remedy() -> None:
    config: ModelConfig = TASKS["classes"]
    net = tiny_models.network(config)
    asked = parse({"int8": "true"})
    check_int8(asked, net, config)
    net.forward = lambda images: images.unique()
    with pytest.raises(InputError, match=r"int8=true: model=test_resnet cannot be quantised \(.*set int8=auto"):
        check_int8(asked, net, config)
    check_int8(parse({}), net, config)  # nothing is tried
