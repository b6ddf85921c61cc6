"""The OpenVINO copy is optional: a job that has its model does not fail for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.disks import files_of_at_most
from support.servers import save_segmenter

from byoc_vision import artifact
from byoc_vision.checksums import CHECKSUMS_FILE
from byoc_vision.training.openvino_export import export_openvino


def test_a_copy_that_does_not_fit_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = save_segmenter(tmp_path, size=32)
    with files_of_at_most(2**12):
        export_openvino(tmp_path)
    assert "The model has no OpenVINO form" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        CHECKSUMS_FILE,
        artifact.CONFIG_FILE,
        artifact.WEIGHTS_FILE,
    ]
    assert artifact.load(tmp_path)[0] == config


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    export_openvino(tmp_path / "gone")
    assert "The model has no OpenVINO form" in caplog.text
