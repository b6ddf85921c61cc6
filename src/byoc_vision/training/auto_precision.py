"""The precision of a training on a CPU, by measurement.

A processor's flags do not tell: with AVX512-BF16 and without AMX, a step in bfloat16 is faster than one in float32 on
some processors, and takes half as long again on others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from byoc_vision.artifact import ModelConfig
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World, on_rank0
from byoc_vision.precision import Precision, PrecisionName, choose_precision
from byoc_vision.system.machine import has_bfloat16
from byoc_vision.training.auto_batch_size import Trial
from byoc_vision.training.checkpoint import Checkpointer, kept_random_state

LEAST_GAIN = 0.1  # of float32's time: less is not worth the rounding, and may be chance
MOST_IMAGES = 4  # of a step; which precision is faster does not depend on how many there are
LEAST_STEPS = 3
SECONDS_EACH = 0.3

CANDIDATES: tuple[PrecisionName, ...] = ("float32", "bfloat16")

Steps = Mapping[PrecisionName, Callable[[], object]]

logger = logging.getLogger(__name__)


def training_precision(
    hyperparameters: Hyperparameters,
    config: ModelConfig,
    crop_size: tuple[int, int] | None,
    device: torch.device,
    world: World,
    checkpointer: Checkpointer | None,
) -> Precision:
    """The precision that a job trains in; call it in all processes.

    On a GPU `choose_precision` knows it. On a CPU `auto` is what the job's checkpoint was trained in; without one a few
    steps are timed, if the processor has instructions for bfloat16. Random numbers are as before.

    crop_size: height and width of training images, if they are not the model's.
    """
    if hyperparameters.precision != "auto" or device.type != "cpu":
        return choose_precision(hyperparameters.precision, device)
    content = checkpointer.continued(hyperparameters) if checkpointer else None
    if content is not None:
        saved: PrecisionName = content.get("precision", "auto")  # checkpoints from before it was kept: by the flags
        return choose_precision(saved, device)
    if not has_bfloat16():
        return choose_precision("float32", device)
    size = crop_size or (config.preprocess.height, config.preprocess.width)

    def measured() -> PrecisionName:
        with kept_random_state():
            return choose_by_time(_steps(hyperparameters, config, size, device))

    return choose_precision(on_rank0(world, measured), device)


def choose_by_time(steps: Steps, clock: Callable[[], float] = time.perf_counter) -> PrecisionName:
    """The first precision, float32, unless another takes at least a tenth less time. The times are logged.

    clock: in seconds.
    """
    times = shortest_times(steps, clock)
    first, fastest = next(iter(times)), min(times, key=times.__getitem__)
    chosen = fastest if times[fastest] <= (1 - LEAST_GAIN) * times[first] else first
    shown = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in times.items())
    logger.info("precision=auto: a step takes %s; the job trains in %s", shown, chosen)
    return chosen


def shortest_times(steps: Steps, clock: Callable[[], float] = time.perf_counter) -> dict[PrecisionName, float]:
    """The seconds of a step in each precision.

    Each step is done once before. They take turns and the shortest counts, so that other work on the machine disturbs
    all of them alike or not at all.
    """
    for step in steps.values():
        step()
    times = dict.fromkeys(steps, float("inf"))
    done, spent = 0, 0.0
    while done < LEAST_STEPS or spent < SECONDS_EACH * len(steps):
        for name, step in steps.items():
            started = clock()
            step()
            seconds = clock() - started
            times[name] = min(times[name], seconds)
            spent += seconds
        done += 1
    return times


def seconds_an_image(
    hyperparameters: Hyperparameters, config: ModelConfig, device: torch.device, world: World
) -> float:
    """Of a training step of whole images, in the fastest precision that the job may take; call it in all processes.

    Random numbers are as before.
    """
    size = config.preprocess.height, config.preprocess.width
    measured = hyperparameters.precision == "auto" and device.type == "cpu" and has_bfloat16()
    names = CANDIDATES if measured else (hyperparameters.precision,)

    def fastest() -> float:
        with kept_random_state():
            times = shortest_times(_steps(hyperparameters, config, size, device, names))
        return min(times.values()) / _images(hyperparameters)

    return on_rank0(world, fastest)


def _images(hyperparameters: Hyperparameters) -> int:
    """Of a measured step."""
    return min(MOST_IMAGES, hyperparameters.batch_size)


def _steps(
    hyperparameters: Hyperparameters,
    config: ModelConfig,
    size: tuple[int, int],
    device: torch.device,
    names: Sequence[PrecisionName] = CANDIDATES,
) -> Steps:
    """The job's own step in each precision, with a network of its own."""
    images = _images(hyperparameters)

    def step_in(name: PrecisionName) -> Callable[[], object]:
        precision = choose_precision(name, device)
        trial = Trial(config.model, size, device, precision, hyperparameters, config.activation)
        return lambda: trial.run(images)

    return {name: step_in(name) for name in names}
