"""Measures the time that the health rules add to a training step: the same step with and without them, in turns.

    .venv/bin/python benchmarks/health.py [--output benchmarks/results/health.json]

Real steps of a job on random images, on the GPU if there is one. Steps with and without the rules take turns; the ratio
is the median over blocks of steps, each of which inspects tensors once.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import write
from torch import nn

from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.models.build import build_model
from byoc_vision.models.losses import build_loss
from byoc_vision.models.names import canonical_spec
from byoc_vision.models.normalized import Normalized
from byoc_vision.precision import choose_device, choose_precision
from byoc_vision.training.callbacks.step_watch import StepWatch
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Batch, Step
from byoc_vision.types import ModelSpec, Task

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(task: Task, architecture: str, encoder: str | None) -> tuple[Step, Step, StepWatch]:
    """A step, and the same step with the rules."""
    net = build_model(canonical_spec(ModelSpec(task=task, architecture=architecture, encoder=encoder, outputs=2)))
    device = choose_device()
    model: nn.Module = Normalized(net, MEAN, STD).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer("adamw", net, 1e-4)
    schedule = build_schedule("constant", optimizer, total_steps=10**6, steps_per_epoch=10**6)
    precision = choose_precision("auto", device)
    loss = build_loss("cross_entropy", "softmax", task=task).to(device)
    step = Step(model, loss, optimizer, schedule, precision, precision.scaler(), device)
    observer = StepWatch(HealthMonitor(), model, net, optimizer, device, precision.autocast, mean=MEAN, std=STD)
    return step, replace(step, callbacks=observer), observer


def batch_of(task: Task, size: int, count: int) -> Batch:
    target = torch.randint(2, (count, size, size) if task == "segmentation" else (count,))
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8), target


def seconds(step: Step, batch: Batch, steps: int) -> float:
    """The seconds of one step; on a CPU, the process's CPU time, which excludes other work on the machine."""
    clock = time.perf_counter if step.device.type == "cuda" else time.process_time
    started = clock()
    for _ in range(steps):
        step([batch])
    if step.device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - started) / steps


def measure(
    task: Task, architecture: str, encoder: str | None, size: int, count: int, blocks: int
) -> dict[str, object]:
    alone, watched, observer = build(task, architecture, encoder)
    batch = batch_of(task, size, count)
    alone.begin()
    for step in (alone, watched):
        seconds(step, batch, 5)  # including the inspections of the first steps
    times: dict[str, list[float]] = {"alone": [], "watched": []}
    interval = observer.interval
    for pair in range(blocks * interval):  # each block has one inspection
        order = (("alone", alone), ("watched", watched))
        for kind, step in order if pair % 2 else reversed(order):
            times[kind].append(seconds(step, batch, 1))
    # The sum over each block, and the median of the blocks, which ignores blocks disturbed by other work.
    starts = range(0, blocks * interval, interval)
    sums = {kind: [sum(taken[start : start + interval]) for start in starts] for kind, taken in times.items()}
    ratio = statistics.median(after / before for before, after in zip(sums["alone"], sums["watched"], strict=True))
    name = architecture + (f" {encoder}" if encoder else "")
    print(f"{name}, {count} images of {size}: × {ratio:.4f}, tensors inspected in one step of {interval}", flush=True)
    return {
        "model": name,
        "size": size,
        "batch": count,
        "seconds_of_a_step": statistics.median(times["alone"]),
        "steps_between_looks": interval,
        "with the rules / without": round(ratio, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # waiting threads would count as work
    cases: list[tuple[Task, str, str | None]] = [
        ("classification", "resnet18", None),
        ("segmentation", "unet", "mobilenet_v2"),
    ]
    write(
        options.output,
        {"runs": [measure(*case, options.size, options.batch, options.blocks) for case in cases]},
    )


if __name__ == "__main__":
    main()
