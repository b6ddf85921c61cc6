"""The trained model as endpoints on CPUs load it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from byoc_vision import artifact
from byoc_vision.errors import UserError

logger = logging.getLogger(__name__)


def export_openvino(folder: Path) -> None:
    """Write the network of the artifact in `folder` beside its weights as OpenVINO reads it.

    Call it last: if it fails, or the job is killed meanwhile, the model is complete, and PyTorch serves it.
    """
    # Imported here: together they take a second that the first step need not wait for.
    from byoc_vision.inference import compiled
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    started = time.monotonic()
    config = artifact.read_config(folder)
    try:
        compiled.write(folder, config, TorchEngine.load(folder, config, "cpu").net)
    except UserError as error:
        logger.warning("The model has no OpenVINO form, and CPUs serve it more slowly: %s", error)
    else:
        logger.info("Exported the OpenVINO model (%.1f s)", time.monotonic() - started)
