"""The memory of a model's tensors in a training step or a prediction, counted without computing anything.

The code of training and inference runs unchanged on fake tensors: these have a shape, a type and a storage of a size,
but no memory behind it (torch.compile traces programs with them). The bytes that are alive at once are counted exactly,
for any batch, even on a machine that could not hold it.

This leaves out what a process needs besides tensors: libraries, the CUDA context, the workspaces of convolutions, the
allocator's rounding. `benchmarks/instance_memory.py` measures that, and `describe/instances.py` adds it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from byoc_vision.models.build import build_model, check_input_size
from byoc_vision.models.losses import build_loss
from byoc_vision.models.normalized import Normalized
from byoc_vision.models.shapes import freeze_unused
from byoc_vision.precision import Precision
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Step
from byoc_vision.types import ModelSpec

_USUAL_LOSS = {"segmentation": "bce_dice", "classification": "cross_entropy"}
_STEPS = 2  # the first creates the optimiser's averages; the second has them throughout


@dataclass(frozen=True)
class StepMemory:
    """Bytes. peak: the most that is alive at once."""

    weights: int
    gradients: int
    optimizer: int
    peak: int

    @property
    def activations(self) -> int:
        """The rest of the peak: activations and their gradients. Too high if some gradients are missing then."""
        return self.peak - self.weights - self.gradients - self.optimizer


def training_memory(
    spec: ModelSpec,
    size: tuple[int, int],
    batch_size: int,
    *,
    optimizer: str = "adamw",
    dtype: torch.dtype = torch.float32,
) -> StepMemory:
    """Of a training step on `batch_size` images of `size` (height, width), as one process takes it.

    dtype: of matrix products and convolutions; weights stay float32. Raises InputError if the model cannot be built,
    does not take the size, or the optimiser is unknown.
    """
    network = build_model(spec)
    check_input_size(network, spec, *size)
    freeze_unused(network, spec.in_channels)
    with fakes(normalized(network)) as (model, live):
        step = training_step(spec, model, optimizer, dtype)
        step.begin()
        for _ in range(_STEPS):
            step([empty_batch(spec, size, batch_size)])
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        state = (value for entry in step.optimizer.state.values() for value in entry.values())
        return StepMemory(
            weights=_bytes([*model.parameters(), *model.buffers()]),
            gradients=_bytes(parameter.grad for parameter in trained),
            optimizer=_bytes(state),
            peak=live.peak,
        )


def inference_memory(
    spec: ModelSpec, size: tuple[int, int], batch_size: int, *, dtype: torch.dtype = torch.float32
) -> StepMemory:
    """Of the network's forward pass over `batch_size` images of `size` (height, width), as PyTorch serves it.

    Raises InputError if the model cannot be built, or does not take the size.
    """
    network = build_model(spec)
    check_input_size(network, spec, *size)
    with fakes(normalized(network).eval()) as (model, live):
        images, _ = empty_batch(spec, size, batch_size)
        with torch.inference_mode(), Precision(dtype, "cpu").autocast():
            model(images)
        return StepMemory(_bytes([*model.parameters(), *model.buffers()]), gradients=0, optimizer=0, peak=live.peak)


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that are alive, and the most that ever were.

    Every tensor that an operation returns registers its storage, which is gone when nothing refers to it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def gone(_: object) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), options: dict[str, Any] | None = None
    ) -> Any:
        result = operation(*arguments, **(options or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result


@contextmanager
def fakes(model: nn.Module) -> Iterator[tuple[nn.Module, Live]]:
    """`model` with fake parameters and buffers, and the counter of fake tensors. The model's values are lost."""
    mode, live = FakeTensorMode(), Live()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            fake = mode.from_tensor(parameter.detach())
            setattr(module, name, nn.Parameter(fake, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(buffer))
    with mode, live:
        for tensor in (*model.parameters(), *model.buffers()):
            live.count(tensor)
        yield model, live


def normalized(network: nn.Module) -> nn.Module:
    """The network as it is trained and served: images are uint8, tensors channels-last."""
    return Normalized(network, (0.5,) * 3, (0.5,) * 3).to(memory_format=torch.channels_last)


def training_step(spec: ModelSpec, model: nn.Module, optimizer: str, dtype: torch.dtype) -> Step:
    """A job's own step, with the task's usual loss, on the CPU."""
    precision = Precision(dtype, "cpu")
    learner = build_optimizer(optimizer, model, 1e-3)
    return Step(
        model=model,
        loss=build_loss(_USUAL_LOSS[spec.task], "sigmoid" if spec.outputs == 1 else "softmax", task=spec.task),
        optimizer=learner,
        schedule=build_schedule("constant", learner, total_steps=_STEPS, steps_per_epoch=_STEPS),
        precision=precision,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        device=torch.device("cpu"),
    )


def empty_batch(spec: ModelSpec, size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Images, uint8 [N, in_channels, h, w], and targets, as the loaders make them."""
    images = torch.empty(count, spec.in_channels, *size, dtype=torch.uint8)
    if spec.task == "segmentation":
        return images, torch.empty(count, *size, dtype=torch.uint8)
    return images, torch.empty(count, dtype=torch.int64)


def _bytes(tensors: Iterable[Tensor | None]) -> int:
    """Each storage is counted once."""
    storages = {tensor.untyped_storage()._cdata: tensor for tensor in tensors if isinstance(tensor, Tensor)}
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
