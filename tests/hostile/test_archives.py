"""Model archives that are hostile, damaged or impossible: refused with the reason, or the model that was saved.

Whatever the archive and whatever the Python, nothing is written outside the temporary folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from byoc_vision import artifact
from byoc_vision.errors import DataError, UserError
from byoc_vision.inference.predictor import Predictor
from byoc_vision.report.page import open_job

pytestmark = pytest.mark.timeout(1200)

IMAGE = np.full((40, 60, 3), 90, np.uint8)

# The model as it was saved.
WHOLE = {
    *("good.tar.gz", "plain_nongz.tar", "mtime_nan.tar.gz", "pax_size_text.tar.gz"),
    *("card_version_1.0.tar.gz", "card_version_true.tar.gz"),  # 1 in other words
}


def outside(archives: Path) -> dict[str, bytes]:
    """All that lies beside the archives."""
    return {str(path): path.read_bytes() for path in (archives / "outside").rglob("*") if path.is_file()}


def test_models(archives: Path, model: Path) -> None:
    card, weights = artifact.load(model / "model")
    before = outside(archives)
    right, problems = set(), {}
    for archive in sorted(path for path in archives.iterdir() if path.is_file()):
        try:
            found_card, found_weights = artifact.load(archive)
        except UserError as error:
            message = str(error)
            is_clear = (type(error) is DataError and str(archive) in message and ";" in message) or "Give it" in message
            if not is_clear:
                problems[archive.name] = message
            continue
        try:
            Predictor.load(archive, "cpu", engine="torch").predict([IMAGE])
        except UserError as error:  # what only the network itself shows
            if type(error) is not DataError:
                problems[archive.name] = str(error)
            continue
        is_whole = found_weights.keys() == weights.keys() and all(
            torch.equal(found_weights[name], weights[name]) for name in weights
        )
        if is_whole and found_card == card:
            right.add(archive.name)
        else:
            problems[archive.name] = "another model"
    assert outside(archives) == before, "something was written outside"
    assert not (archives.parent / "ESCAPED_dotdot").exists()
    assert right == WHOLE
    assert not problems


def test_outputs(archives: Path) -> None:
    """The same archives as the output of a job, which none of them is."""
    before = outside(archives)
    for archive in sorted(path for path in archives.iterdir() if path.is_file()):
        with pytest.raises(DataError) as refused, open_job(archive):
            pass
        assert str(archive) in str(refused.value)
    assert outside(archives) == before, "something was written outside"
