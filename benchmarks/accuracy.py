"""Compares the accuracy of the same job trained fast and in plain eager float32, with three seeds.

    .venv/bin/python benchmarks/accuracy.py CHANNELS HYPERPARAMETERS.json [--output benchmarks/results/NAME.json]

CHANNELS is a folder of channels (train, validation, …), like a job's /opt/ml/input/data.

plain     float32, contiguous tensors, an optimiser that is not fused, images decoded in each epoch
fast      as a job trains by default on this machine
bfloat16  as a job trains on hardware with bfloat16; elsewhere it is emulated, slowly, with the same result

All three use the same images in the same order, the same augmentation, and the same initial weights. The value of a
seed is the validation metric of its last epoch; the table gives their mean and spread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import write
from ours import train

from byoc_vision import hyperparameters as hp
from byoc_vision.data.preflight import find_and_check
from byoc_vision.data.samples import Dataset
from byoc_vision.job import Channel, Job
from byoc_vision.launch.distributed import World
from byoc_vision.paths import MlPaths
from byoc_vision.recipe import resolve_config
from byoc_vision.training.build import assemble, seed_everything
from byoc_vision.training.data_partition import DataPartition
from byoc_vision.training.step import Step
from byoc_vision.training.trainer import Trainer

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"precision": "float32", "cache": "off"},
    "fast": {},
    "bfloat16": {"precision": "bfloat16"},
}


class PlainStep(Step):
    """A step as in most projects."""

    def _gradients(self, images: torch.Tensor, targets: torch.Tensor, weight: float) -> torch.Tensor:
        loss: torch.Tensor = self.loss(self.model(images.to(self.device)), targets.to(self.device))
        (loss * weight).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def make_plain(trainer: Trainer) -> None:
    """Remove a trainer's optimisations for speed."""
    trainer.step.model.to(memory_format=torch.contiguous_format)
    for group in trainer.step.optimizer.param_groups:
        group.update(fused=False, foreach=False)
    trainer.step = PlainStep(**vars(trainer.step))


def figures_of(
    dataset: Dataset, channels: dict[str, Channel], raw: dict[str, Any], variant: str, seed: int
) -> tuple[dict[str, float], float]:
    """The validation metrics after the last epoch, and the seconds of the whole training."""
    hyperparameters = hp.parse(raw | VARIANTS[variant] | {"seed": seed})
    started = time.perf_counter()
    seed_everything(seed)
    with tempfile.TemporaryDirectory() as folder:
        work = DataPartition.shared(dataset, World(), seed)
        trainer = assemble(Job(MlPaths(Path(folder)), channels), hyperparameters, work, World())
        if variant == "plain":
            make_plain(trainer)
        try:
            for epoch in range(1, hyperparameters.epochs + 1):
                train(trainer, epoch)
            figures = trainer.best.validate(lambda: False).metrics
        finally:
            trainer.close()
    return figures, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("channels", type=Path)
    parser.add_argument("hyperparameters", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    raw = json.loads(options.hyperparameters.read_text())
    hyperparameters = hp.parse(raw)
    folders = sorted(folder for folder in options.channels.iterdir() if folder.is_dir())
    channels = {folder.name: Channel(folder.name, folder) for folder in folders}
    job = Job(MlPaths(options.channels), channels)
    dataset = find_and_check(job.folders, resolve_config.data_options(hyperparameters)).dataset
    objective = resolve_config.objective(hyperparameters, dataset).name.removeprefix("validation:")
    results: dict[str, dict[str, Any]] = {}
    for seed in options.seeds:  # in turns, so that other work on the machine affects all variants equally
        for variant in options.variants:
            figures, seconds = figures_of(dataset, channels, raw, variant, seed)
            value = figures[objective]
            of_all = results.setdefault(variant, {"figures": [], "seconds": []})
            of_all["figures"].append(round(value, 4))
            of_all["seconds"].append(round(seconds, 1))
            print(f"seed {seed}, {variant}: {objective} {value:.4f} in {seconds:.0f} s", flush=True)
    for variant, of_all in results.items():
        of_all["mean"] = round(statistics.mean(of_all["figures"]), 4)
        of_all["spread"] = round(max(of_all["figures"]) - min(of_all["figures"]), 4)
        print(f"{variant:9} {objective} {of_all['mean']:.4f}, between seeds {of_all['spread']:.4f}")
    write(options.output, {"hyperparameters": raw, "figure": objective, "variants": results})


if __name__ == "__main__":
    main()
