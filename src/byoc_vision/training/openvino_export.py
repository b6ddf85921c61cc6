"""The trained model as endpoints on CPUs load it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from byoc_vision import artifact
from byoc_vision.errors import UserError

logger = logging.getLogger(__name__)


def leave_compiled(folder: Path) -> None:
    """Put the network of the artifact in `folder` beside its weights as OpenVINO reads it.

    To be called last of all: where it fails, or the job is killed meanwhile, the model is there, and PyTorch serves it.
    """
    # Imported here: together they take a second that the first step need not wait for.
    from byoc_vision.inference import compiled
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    started = time.monotonic()
    config = artifact.read_config(folder)
    try:
        compiled.write(folder, config, TorchEngine.load(folder, config, "cpu").net)
    except UserError as error:
        logger.warning("The model is there without OpenVINO's form of it, and CPUs serve it more slowly: %s", error)
    else:
        logger.info("The model is there as OpenVINO reads it, too (%.1f s)", time.monotonic() - started)
