"""How the server starts and ends, and how it says why it cannot serve a model."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from support.servers import fork, save_classifier, save_segmenter, start

from byoc_serve.loader import INTERNAL_ERROR_EXIT_CODE
from byoc_serve.run import MAX_FAILED_STARTS, START_EXIT_CODE
from byoc_vision import artifact
from byoc_vision.errors import DataError, ResourceError

pytestmark = pytest.mark.timeout(300)


def test_it_responds_at_once_and_is_ready_later(tmp_path: Path) -> None:
    save_segmenter(tmp_path / "model")
    with start(tmp_path, tmp_path / "log", {"LOG_LEVEL": "info"}) as server:
        seen = server.pings_until(200)
        assert seen in ([None, 503, 200], [503, 200])
        assert "unet_small, segmentation, 2 classes" in server.log.read_text()
        server.kill_worker()
        assert server.pings_until(200)[0] != 200
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.25):
            server.terminate()  # and the server does not wait for a request of this client
            assert server.exit_status() == 0


def test_an_empty_model_folder_ends_it_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir(parents=True)
    with fork(tmp_path, tmp_path / "log") as server:
        assert server.exit_status() == DataError.exit_code
    log = server.log.read_text()
    assert f"{tmp_path / 'model'} holds no model" in log
    assert "Traceback" not in log
    assert log.count("Booting worker") == 1


def test_a_model_that_kills_its_workers_ends_the_server(tmp_path: Path) -> None:
    save_segmenter(tmp_path / "model")
    with start(tmp_path, tmp_path / "log") as server:
        for _ in range(MAX_FAILED_STARTS):
            server.kill_worker()
        assert server.exit_status() == START_EXIT_CODE
    assert "give it more memory" in server.log.read_text()


def test_an_internal_error_ends_it_with_the_reason(tmp_path: Path) -> None:
    """The reason is not a lack of memory: the worker was not killed."""
    save_segmenter(tmp_path / "model")
    (tmp_path / "sitecustomize.py").write_text(
        "import cv2\n\ndef fail(count):\n    raise RuntimeError('cv2 fails')\n\ncv2.setNumThreads = fail\n"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with start(tmp_path, tmp_path / "log", {"PYTHONPATH": path}) as server:
        assert server.exit_status() == INTERNAL_ERROR_EXIT_CODE
    log = server.log.read_text()
    assert "the model cannot be served: RuntimeError: cv2 fails" in log
    assert "memory" not in log
    assert log.count("Booting worker") == 1


@pytest.mark.parametrize("change", ["size", "nan"])
def test_an_impossible_model_ends_it_with_the_reason(tmp_path: Path, change: str) -> None:
    model = tmp_path / "model"
    save_segmenter(model)
    (model / "checksums.json").unlink()
    if change == "size":
        config = model / "model.json"
        config.write_text(re.sub(r'"height": \d+', '"height": 63', config.read_text()))
    else:
        saved, state = artifact.load(model)
        artifact.save(model, saved, {name: tensor * float("nan") for name, tensor in state.items()})
    with fork(tmp_path, tmp_path / "log") as server:
        assert server.exit_status() == DataError.exit_code
    log = server.log.read_text()
    assert {"size": "preprocess.height, preprocess.width=63, 64 does", "nan": "not finite numbers"}[change] in log
    assert log.count("Booting worker") == 1


def test_a_damaged_openvino_form_is_not_used(tmp_path: Path) -> None:
    """Good weights beside it are served, without a restart."""
    save_classifier(tmp_path / "model", for_cpus=True)
    for name in ("model.bin", "reference.npz"):
        path = tmp_path / "model/openvino" / name
        path.write_bytes(path.read_bytes()[:100])
    with fork(tmp_path, tmp_path / "log") as server:
        assert server.pings_until(200)[-1] == 200
    log = server.log.read_text()
    assert "reference.npz is missing or damaged" in log
    assert log.count("Booting worker") == 1


def test_damaged_weights_end_it_with_the_reason(tmp_path: Path) -> None:
    save_segmenter(tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with fork(tmp_path, tmp_path / "log") as server:
        assert server.exit_status() == DataError.exit_code
    assert "model.safetensors is damaged" in server.log.read_text()


def test_too_old_a_gpu_driver_ends_it_with_the_remedy(tmp_path: Path) -> None:
    """Otherwise the log of the endpoint would be empty, or the CPU would serve instead of the GPU."""
    save_segmenter(tmp_path / "model")
    version, devices = tmp_path / "version", tmp_path / "devices"
    devices.mkdir()
    (devices / "nvidia0").touch()
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Sun May 12 19:39:15 UTC 2024\n")
    environment = {"BYOC_NVIDIA_VERSION_FILE": str(version), "BYOC_NVIDIA_DEVICES": str(devices)}
    with fork(tmp_path, tmp_path / "log", environment) as server:
        assert server.exit_status() == ResourceError.exit_code
    assert 'InferenceAmiVersion="al2023-ami-sagemaker-inference-gpu-4-1"' in server.log.read_text()


def test_a_wrong_variable_ends_it_before_it_listens(tmp_path: Path) -> None:
    with fork(tmp_path, tmp_path / "log", {"MAX_PAYLOAD_MB": "much"}) as server:
        assert server.exit_status() == 2
    assert "MAX_PAYLOAD_MB=much" in server.log.read_text()


def test_stopping_while_it_loads_is_not_a_failure(tmp_path: Path) -> None:
    save_segmenter(tmp_path / "model")
    with start(tmp_path, tmp_path / "log") as server:
        server.pings_until(503)
        server.terminate()
        assert server.exit_status() == 0
