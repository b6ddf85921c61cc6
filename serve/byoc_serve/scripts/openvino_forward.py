"""`ENGINE=openvino`: the PyTorch module of a user's script computes with OpenVINO, which is faster on a CPU.

The script itself does not change. Only the module's `forward` is replaced, for one float32 tensor on the CPU without
gradients; any other call goes to the module's own. The converted network is used only if it predicts what the module
does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from byoc_vision.errors import error_lines
from byoc_vision.export.openvino import restored_logging
from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine, choose_streams
from byoc_vision.system.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino

MOST_SHAPES = 4  # of inputs: each takes a network of its own in memory
CLOSE = 1e-3  # the largest difference that rounding explains, as a share of the largest value

logger = logging.getLogger(__name__)


def use_openvino(model: Any, threads: int, *, batches: bool = False) -> None:
    """Have the module compute with OpenVINO from its first batch on, with so many threads.

    batches: whether there are some of several images. They get a network of their own, beside that for single images.
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        logger.warning(
            "ENGINE=openvino has no effect: it needs a model_fn that returns a torch.nn.Module, not %s",
            type(model).__name__,
        )
        return
    model.forward = OpenVinoForward(model, threads, choose_streams(threads) if batches else 1)


class OpenVinoForward:
    """Takes the place of a module's `forward`. It is called by one thread at a time, as the functions of a script."""

    def __init__(self, model: nn.Module, threads: int, streams: int) -> None:
        self._model = model
        self._own = model.forward
        self._threads = threads
        self._streams = streams
        self._has_more_shapes = False
        self._engines: dict[torch.Size, OpenVinoEngine | None] = {}  # None: OpenVINO cannot compute such inputs

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        images = arguments[0] if len(arguments) == 1 and not named else None
        if not _is_batch(images) or self._model.training:
            return self._own(*arguments, **named)
        engine = self._engine_for(images)
        if engine is None:
            return self._own(images)
        return torch.from_numpy(engine.run(images.contiguous().numpy()))

    def _engine_for(self, images: Tensor) -> OpenVinoEngine | None:
        shape = images.shape[1:]
        if shape in self._engines:
            return self._engines[shape]
        if len(self._engines) < MOST_SHAPES:
            self._engines[shape] = self._convert(images)
            return self._engines[shape]
        if not self._has_more_shapes:
            logger.warning("Inputs have more than %d shapes: the others are computed with PyTorch", MOST_SHAPES)
            self._has_more_shapes = True
        return None

    def _convert(self, images: Tensor) -> OpenVinoEngine | None:
        """The network for inputs of this shape; None, with a line in the log, if the module's own forward is needed."""
        started = time.monotonic()
        try:
            network = _network(_Traced(self._model, self._own), images)
            engine = OpenVinoEngine(network, self._threads, self._streams)
            self._compare(engine, images)
        except Exception as error:  # of many kinds: whatever a module does that is not one graph
            reason = error_lines(error)[0]
            logger.warning("PyTorch computes the script's model, since OpenVINO cannot: %s", reason)
            return None
        shape, seconds = " × ".join(map(str, images.shape[1:])), time.monotonic() - started
        logger.info("OpenVINO computes the script's model in float32 for inputs of %s (after %.1f s)", shape, seconds)
        return engine

    def _compare(self, engine: OpenVinoEngine, images: Tensor) -> None:
        """With the images, and with two others at once: what tracing took for a constant differs there.

        Raises ValueError if the network predicts something else than the module.
        """
        one = images[:1]
        for batch in (one, torch.cat([one.flip(-1), 0.5 * one])):
            expected = self._own(batch)
            if not isinstance(expected, Tensor):
                raise ValueError(f"the model returns {type(expected).__name__}, not one tensor")
            found = torch.from_numpy(engine.run(batch.contiguous().numpy()))
            if found.shape != expected.shape:
                raise ValueError("its predictions have another shape than the model's")
            apart, scale = (found - expected).abs().max().item(), expected.abs().max().item()
            if not apart <= CLOSE * max(scale, np.finfo(np.float32).tiny):
                raise ValueError(f"its predictions differ by {apart:.2g} from the model's, which are up to {scale:.2g}")


class _Traced(nn.Module):
    """A module with the forward that it had, for one tensor."""

    def __init__(self, model: nn.Module, own: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model = model
        self._own = own

    def forward(self, images: Tensor) -> Any:
        return self._own(images)


def _network(model: nn.Module, images: Tensor) -> openvino.Model:
    """The module for any number of such images. Raises whatever torch.export or OpenVINO raises."""
    batch = images.new_zeros((2, *images.shape[1:]))  # a batch of one would become a constant
    with torch.no_grad(), restored_logging():
        program = torch.export.export(model, (batch,), dynamic_shapes=({0: Dim("batch")},))
        network = import_openvino().convert_model(program)
        network.reshape([-1, *images.shape[1:]])
    return network


def _is_batch(images: Any) -> TypeGuard[Tensor]:
    return (
        isinstance(images, Tensor)
        and images.dtype == torch.float32
        and images.device.type == "cpu"
        and images.dim() > 1
        and len(images) > 0
        and not torch.is_grad_enabled()
    )
