"""Bringing a model into memory, where there is room for it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from byoc_serve.multi_model.memory import bytes_needed, check_container, check_room
from byoc_serve.settings import Settings

if TYPE_CHECKING:
    from byoc_serve.batcher import Observer
    from byoc_serve.model_service import ModelService

logger = logging.getLogger(__name__)


def load(folder: Path, settings: Settings, device: str | None = None, observer: Observer | None = None) -> ModelService:
    """The model in `folder`; to be called in the thread that will be its own.

    device: as torch names it; by default the GPU with the most free memory, or the CPU.
    Raises RequestError 507 where there is no room for it, DataError where it is damaged, and ResourceError where the
    GPU's driver is too old.
    """
    needed = bytes_needed(folder)
    check_container(needed)
    from byoc_serve.model_service import ModelService, may_have_gpu
    from byoc_vision.inference.predictor import Predictor

    cv2.setNumThreads(1)  # as many images as there are cores are worked on at once, see `ModelService`
    if device is None and may_have_gpu(settings):
        device = choose_gpu(settings, needed)
    return ModelService(Predictor.load(folder, device, settings.engine), settings, observer)


def choose_gpu(settings: Settings, needed: int) -> str | None:
    """The GPU with the most free memory; None where torch can use none, and the CPU may stand in.

    Raises RequestError 507 where the model does not fit there, and ResourceError.
    """
    import torch

    from byoc_vision.system.gpus import check_driver, find_gpus

    warning = check_driver(find_gpus(), allow_cpu_fallback=settings.allow_cpu_fallback, serving=True)
    if warning:
        logger.warning(warning)
    free = [torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())]
    if not free:
        return None
    check_room(needed, max(free), "the GPU's memory")
    return f"cuda:{free.index(max(free))}"
