"""The PyTorch engine, on a GPU or a CPU: models are trained with it, and other engines are compared with it."""

from __future__ import annotations

import copy
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError, InputError, error_lines
from byoc_vision.inference.engines.base import Logits, TorchPrecision
from byoc_vision.inference.engines.cuda_graphs import GraphedForward, Record, record_cuda_graph
from byoc_vision.models.build import build_model, check_input_size
from byoc_vision.models.normalized import Normalized
from byoc_vision.precision import Precision, choose_device, choose_precision, time_convolutions
from byoc_vision.system.memory import is_out_of_memory
from byoc_vision.types import ModelSpec

# These alone compute in half precision whatever their parent does. Subclasses may first compute something of their
# weights (weight standardisation), which float32 should do.
_CAST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
TOLERANCE = 0.1  # of the logits' spread: twice that of OpenVINO's bfloat16, since the network learnt in this precision

logger = logging.getLogger(__name__)


class TorchEngine:
    """Runs a network in PyTorch; the network can be in training, for evaluation.

    net: the network. model: the network with its normalisation, on its device.
    """

    streams = 1

    def __init__(self, net: nn.Module, config: ModelConfig, device: torch.device, precision: Precision) -> None:
        """net: a network that takes normalised images."""
        self.net = net
        normalized = Normalized(net, config.preprocess.mean, config.preprocess.std)
        self.model = normalized.to(device).to(memory_format=torch.channels_last)
        self.precision = precision
        self._device = device
        self._served: nn.Module | None = None  # the model with its weights cast
        self._graphs: GraphedForward | None = None
        self._loaded_spec: ModelSpec | None = None

    @classmethod
    def load(
        cls,
        folder: Path,
        config: ModelConfig,
        device: str | None = None,
        threads: int | None = None,
        precision: TorchPrecision = "auto",
    ) -> TorchEngine:
        """The engine of the artifact in `folder`. Call it in the same thread as `run`.

        threads: the maximum on a CPU. precision: see `choose_precision`.
        Raises DataError if the weights are not those of the config's network, or not finite numbers.
        """
        if threads is not None:
            torch.set_num_threads(min(threads, torch.get_num_threads()))
        state = artifact.read_weights(folder)
        _check_weights(folder, config.model, state)
        try:
            net = build_model(config.model)
        except InputError as error:
            raise DataError(f"{folder / artifact.CONFIG_FILE}: {error}") from error
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise DataError(f"{folder}: the weights do not fit the model in {artifact.CONFIG_FILE}: {error}") from error
        chosen = choose_device(device)
        engine = cls(net.eval(), config, chosen, choose_precision(precision, chosen))
        engine._loaded_spec = config.model
        return engine

    @property
    def name(self) -> str:
        return f"torch {self.precision.name}"

    @property
    def device(self) -> str:
        return str(self._device)

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> Logits:
        """See `Engine`. It leaves the network in evaluation mode.

        Raises DataError if the network of a loaded artifact cannot take images of this size.
        """
        # Decoded images are channels-last in memory, which is also the fastest format for convolutions.
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)
        batch = batch.to(self._device, non_blocking=True, memory_format=torch.channels_last)
        self.model.eval()
        try:
            logits = self._graphs(batch) if self._graphs else self._forward(batch)
        except (RuntimeError, ValueError, AssertionError) as error:
            self._check_size(images, error)
            raise
        if logits.device.type == "cpu":
            return logits.numpy()
        # Not earlier than it has computed: while one batch is computed the next one gathers, see serve's batcher.
        torch.cuda.current_stream(self._device).synchronize()
        return logits

    def settle_precision(self, images: np.ndarray, *, centred: bool = False) -> None:
        """Compare the precision with float32 on some images; if they differ too much, compute in float32 from now on.

        Otherwise the weights are cast once; `model` and `net` keep theirs in float32. centred: see `difference`.
        """
        if not self.precision.is_mixed:
            return
        chosen, self.precision = self.precision, Precision(torch.float32, self._device.type)
        expected = self._on_cpu(images)
        self._served, self.precision = cast_weights(self.model, chosen.dtype).eval(), chosen
        if reason := difference(self._on_cpu(images), expected, centred=centred):
            logger.warning("%s is not used: %s; the network computes in float32 instead", chosen.name, reason)
            self._served, self.precision = None, Precision(torch.float32, self._device.type)

    def record_graphs(self, images: np.ndarray, record: Record | None = None) -> None:
        """Compute batches of up to so many images by CUDA graphs from now on, if these compute the same.

        record: by default records CUDA graphs.
        """
        time_convolutions()
        expected = self._on_cpu(images[:1])
        graphs = GraphedForward(self._forward, record or record_cuda_graph(self._device))
        image = torch.from_numpy(images[:1]).permute(0, 3, 1, 2).to(self._device)
        try:
            with torch.inference_mode():
                graphs.record(image, len(images))
            self._graphs = graphs
            reason = difference(self._on_cpu(images[:1]), expected)
        except RuntimeError as error:
            reason = error_lines(error)[0]
        if reason:
            self._graphs = None
            logger.warning("no CUDA graphs: %s", reason)
        else:
            logger.info("CUDA graphs for batches of %s", ", ".join(map(str, sorted(graphs.sizes))))

    def _forward(self, batch: Tensor) -> Tensor:
        """uint8 [N, 3, h, w] to logits, float32, both on the device."""
        with self.precision.autocast(cache=self._served is None):
            logits: Tensor = (self.model if self._served is None else self._served)(batch)
        return logits.float()

    def _on_cpu(self, images: np.ndarray) -> np.ndarray:
        logits = self.run(images)
        return logits if isinstance(logits, np.ndarray) else logits.cpu().numpy()

    def _check_size(self, images: np.ndarray, error: Exception) -> None:
        """After an error: asked before, each start would take seconds more. Raises DataError if the size is wrong."""
        if self._loaded_spec is None or is_out_of_memory(error):
            return
        _, height, width, _ = images.shape
        try:
            check_input_size(self.net, self._loaded_spec, height, width, "preprocess.height, preprocess.width")
        except InputError as wrong:
            raise DataError(f"the model's {artifact.CONFIG_FILE}: {wrong}") from error

    def warm_up(self, images: np.ndarray) -> None:
        self.run(images[:1])
        if len(images) > 1:
            self.run(images)


def _check_weights(folder: Path, spec: ModelSpec, state: dict[str, Tensor]) -> None:
    """Before the network is built, which may take any amount of memory.

    Raises DataError if the head alone has more weights than the file, or a weight is not a finite number.
    """
    held, sides = sum(tensor.numel() for tensor in state.values()), (*spec.hidden_units, spec.outputs)
    if max(max(sides), *(one * other for one, other in pairwise(sides)), 0) > held:
        raise DataError(
            f"{folder / artifact.CONFIG_FILE}: model.outputs={spec.outputs} and model.hidden_units="
            f"{list(spec.hidden_units)} take more weights than the {held} in {artifact.WEIGHTS_FILE}; fetch or train "
            "the model again"
        )
    for name, tensor in state.items():
        # The sum is several times as fast, and finite only if its terms are.
        if tensor.is_floating_point() and not (tensor.sum().isfinite() or tensor.isfinite().all()):
            raise DataError(
                f"{folder / artifact.WEIGHTS_FILE}: {name} holds values that are not finite numbers (NaN or infinite); "
                "fetch or train the model again"
            )


def cast_weights(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy whose convolutions and linear layers have their weights in `dtype`, for use under autocast.

    Autocast would cast them again in each forward pass. Normalisation stays in float32.
    """
    cast = copy.deepcopy(model)
    for module in cast.modules():
        if type(module) in _CAST:
            module.to(dtype)
    return cast


def difference(found: np.ndarray, expected: np.ndarray, *, centred: bool = False) -> str | None:
    """Why logits, [N, K] or [N, K, h, w], may not replace float32's, in words; None if they may.

    Logits that are not numbers in float32 either are not the precision's fault.

    Args:
        centred: whether the mean over the classes is taken off, which a softmax does not see.
    """
    if not np.isfinite(expected).all():
        return None
    if not np.isfinite(found).all():
        return "its logits are not finite numbers (NaN or infinite)"
    if centred:
        found, expected = (logits - logits.mean(axis=1, keepdims=True) for logits in (found, expected))
    distance = float(np.sqrt(np.mean((found - expected) ** 2)))
    spread = max(float(np.sqrt(np.mean(expected**2))), 1e-6)
    if distance > TOLERANCE * spread:
        return f"its logits are {distance:.3g} apart from those in float32, which are about {spread:.3g}"
    return None
