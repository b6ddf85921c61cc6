"""The trained model as endpoints on CPUs load it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from byoc_vision import artifact
from byoc_vision.errors import UserError

_NONE = "The model has no OpenVINO form, and CPUs serve it more slowly: %s"

logger = logging.getLogger(__name__)


def export_openvino(folder: Path) -> bool:
    """Write the network of the artifact in `folder` beside its weights as OpenVINO reads it. Returns whether it did.

    It is optional, and no error of it fails a job. Call it last: if it fails, or the job is killed
    meanwhile, the model is complete, and PyTorch serves it.
    """
    # Imported here: together they take a second that the first step need not wait for.
    from byoc_vision.inference import openvino_model
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    started = time.monotonic()
    try:
        config = artifact.read_config(folder)
        openvino_model.write(folder, config, TorchEngine.load(folder, config, "cpu").net)
    except (UserError, OSError, MemoryError) as error:
        logger.warning(_NONE, error or type(error).__name__)
    except Exception as error:  # OpenVINO's own errors, also of a full disk, have no class in common
        logger.warning(_NONE, error, exc_info=True)
    else:
        logger.info("Exported the OpenVINO model (%.1f s)", time.monotonic() - started)
        return True
    return False
