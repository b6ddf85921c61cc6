"""The largest batch that fits into the GPU's memory, found by trying."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World, any_process, smallest_over_processes
from byoc_vision.models.build import build_model
from byoc_vision.models.losses import Activation, build_loss
from byoc_vision.models.normalized import Normalized
from byoc_vision.precision import Precision, allow_tf32, choose_device, choose_precision, time_convolutions
from byoc_vision.recipe import resolve_config
from byoc_vision.system.memory import is_out_of_memory
from byoc_vision.training.checkpoint import Checkpointer
from byoc_vision.training.optimizers import build_schedule, optimizer_for
from byoc_vision.training.step import Batch, Step
from byoc_vision.types import ModelSpec

logger = logging.getLogger(__name__)

MOST_IMAGES = 4096
MARGIN = 0.9  # of what fits: fragments take some too
LEAST_STEPS = 10  # of an epoch: the optimiser learns little from fewer and larger batches


def with_fitting_batch_size(
    hyperparameters: Hyperparameters,
    dataset: Dataset,
    world: World,
    *,
    class_weights: Sequence[float] | None = None,
    checkpointer: Checkpointer | None = None,
) -> Hyperparameters:
    """The hyperparameters with the largest batch size that fits, if `auto_batch_size` asks for it.

    A job that resumes keeps the batch size of its checkpoint, if it fits here.

    Raises:
        RuntimeError: not even one image fits; it says that memory ran out.
    """
    if not hyperparameters.auto_batch_size:
        return hyperparameters
    device = choose_device()
    if device.type != "cuda":
        logger.info(
            "auto_batch_size looks at a GPU's memory; on the CPU batch_size stays %d", hyperparameters.batch_size
        )
        return hyperparameters
    trial = Trial.of(hyperparameters, dataset, device, class_weights)
    saved = saved_batch_size(hyperparameters, checkpointer)
    if saved and not any_process(not trial.fits(saved), world, device):
        logger.info("auto_batch_size: batch_size=%d, as in the checkpoint", saved)
        return hyperparameters.model_copy(update={"batch_size": saved})
    most = largest_useful(len(dataset.train) // world.size, hyperparameters.batch_size)
    found = largest_fitting(trial.fits, most)
    if found == 0:
        trial.run(1)  # raises
    chosen = smallest_over_processes(choose_size(found, most), world, device)
    logger.info(
        "auto_batch_size: batch_size=%d (%s)",
        chosen,
        f"{found} images fit once" if found < most else f"more would leave less than {LEAST_STEPS} steps an epoch",
    )
    return hyperparameters.model_copy(update={"batch_size": chosen})


def saved_batch_size(hyperparameters: Hyperparameters, checkpointer: Checkpointer | None) -> int | None:
    """The batch size of the checkpoint that the job continues from, if auto_batch_size found it."""
    content = checkpointer.continued(hyperparameters) if checkpointer else None
    if content is None or not content["hyperparameters"].get("auto_batch_size"):
        return None
    return int(content["hyperparameters"]["batch_size"])


def largest_useful(images: int, asked: int) -> int:
    """The largest batch to try for a process's share of the images: it leaves `LEAST_STEPS` steps an epoch.

    asked: the job's `batch_size`; as many are tried in any case, if there are as many.
    """
    return max(1, min(images, MOST_IMAGES, max(asked, images // LEAST_STEPS)))


def choose_size(found: int, most: int) -> int:
    """The batch size if `found` images fit once, of `most` that were tried: if memory is the limit, some is spared."""
    return max(1, found if found == most else int(found * MARGIN))


def largest_fitting(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, 0 if none does; `fits` must hold for all below one that fits.

    Doubles until it does not fit, and then halves the gap.
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class Trial:
    """The job's own steps on random images, with a network of their own, which changes."""

    def __init__(
        self,
        spec: ModelSpec,
        size: tuple[int, int],
        device: torch.device,
        precision: Precision,
        hyperparameters: Hyperparameters,
        activation: Activation,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """size: height and width of what a step gets: the crop, or the whole image."""
        allow_tf32()
        time_convolutions()
        self.channels = spec.in_channels
        net: nn.Module = Normalized(build_model(spec), (0.5,) * spec.in_channels, (0.5,) * spec.in_channels)
        model, scaler = net.to(device).to(memory_format=torch.channels_last), precision.scaler()
        rates_alike = hyperparameters.model_copy(update={"layer_decay": 1.0})  # they do not change what memory it takes
        optimizer = optimizer_for(model, None, rates_alike, 0.0, scaled=scaler.is_enabled())
        loss = build_loss(
            resolve_config.loss_name(hyperparameters, spec.task),
            activation,
            task=spec.task,
            class_weights=class_weights,
            label_smoothing=hyperparameters.label_smoothing,
        )
        self.spec = spec
        self.size = size
        self.several_labels = spec.task == "classification" and activation == "sigmoid"
        self.batches = min(2, hyperparameters.accumulate_steps)  # the second finds the gradients of the first
        self.step = Step(
            model=model,
            loss=loss.to(device),
            optimizer=optimizer,
            schedule=build_schedule("constant", optimizer, total_steps=1, steps_per_epoch=1),
            precision=precision,
            scaler=scaler,
            device=device,
            clip_grad_norm=hyperparameters.clip_grad_norm,
        )
        self.step.begin()

    @classmethod
    def of(
        cls,
        hyperparameters: Hyperparameters,
        dataset: Dataset,
        device: torch.device,
        class_weights: Sequence[float] | None,
    ) -> Trial:
        """Of a job whose network is not built yet."""
        spec = resolve_config.model_spec(hyperparameters, dataset)
        rule = resolve_config.preprocess(hyperparameters, spec, None, dataset.bands)
        _, size = resolve_config.training_size(hyperparameters, rule, spec.task) or ("", (rule.height, rule.width))
        activation: Activation = "sigmoid" if resolve_config.is_binary(dataset) or dataset.multi_label else "softmax"
        precision = choose_precision(hyperparameters.precision, device)
        return cls(spec, size, device, precision, hyperparameters, activation, class_weights)

    def fits(self, images: int) -> bool:
        try:
            self.run(images)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            self.step.optimizer.zero_grad(set_to_none=True)
            gc.collect()
            if self.step.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def run(self, images: int) -> None:
        """Steps until the optimiser's averages are there. Raises an error that says so if memory runs out."""
        for _ in range(1 if self.step.optimizer.state else 2):
            self.step([self._batch(max(2, images)) for _ in range(self.batches)])
        if self.step.device.type == "cuda":
            torch.cuda.synchronize(self.step.device)  # errors of kernels come late

    def _batch(self, count: int) -> Batch:
        """As the loader makes it, on the CPU."""
        images = torch.randint(256, (count, self.channels, *self.size), dtype=torch.uint8)
        return images.to(memory_format=torch.channels_last), self._targets(count)

    def _targets(self, count: int) -> Tensor:
        if self.spec.task == "segmentation":
            return torch.randint(max(2, self.spec.outputs), (count, *self.size), dtype=torch.uint8)
        if self.several_labels:
            return torch.randint(2, (count, self.spec.outputs), dtype=torch.uint8)
        return torch.randint(self.spec.outputs, (count,))
