"""A saved model measured on a labelled folder, with all that a job leaves of its own evaluations."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import torch

from byoc_vision import __version__
from byoc_vision.artifact import ModelConfig
from byoc_vision.models.build import build_model
from byoc_vision.report.record import Evaluation, Record, Run, write_record
from byoc_vision.system.gpus import find_gpus
from byoc_vision.training.answers.collector import Collector
from byoc_vision.training.answers.writing import write_answers
from byoc_vision.training.distributed import World
from byoc_vision.training.evaluation import Evaluator, evaluator_for
from byoc_vision.training.history import Figures

SPLIT = "test"  # what the images are called: none of them was trained on
_DECISIVE = {"segmentation": ("dice", "miou"), "classification": ("accuracy", "map")}


def report_on_folder(model: Path, folder: Path, output: Path, batch_size: int = 16) -> Figures:
    """The figures, which are written into `output` as a job's are, with tables, images and report.html.

    Raises what `evaluate_folder` raises, and OSError where `output` cannot be written.
    """
    from byoc_vision.report.page import write_report  # it takes a second, which nobody else is to wait for

    started = time.monotonic()
    evaluator, samples = evaluator_for(model, folder, batch_size)
    collector = Collector(evaluator.predictor.config, samples, SPLIT, root=folder.absolute())
    figures = evaluator.evaluate(evaluator.batches(samples), collector=collector)
    collected = collector.collected(figures, World())
    assert collected is not None, "there is no other process"
    write_answers(output, [collected])
    write_record(output, _record(evaluator, collected.evaluation, folder, time.monotonic() - started))
    write_report(output)
    return figures


def _record(evaluator: Evaluator, evaluation: Evaluation, folder: Path, seconds: float) -> Record:
    config = evaluator.predictor.config
    on_gpu = evaluator.predictor.device != "cpu"
    return Record(
        package_version=__version__,
        task=config.model.task,
        multi_label=config.task == "classification" and config.activation == "sigmoid",
        name=folder.absolute().name,
        state="finished",
        classes=list(config.classes),
        images={SPLIT: evaluation.images},
        objective=f"{SPLIT}:{_decisive(config)}",
        test=evaluation.figures,
        seconds=round(seconds, 1),
        gpu_seconds=round(seconds, 1) if on_gpu else 0.0,
        evaluations=[evaluation],
        run=_run(evaluator),
    )


def _run(evaluator: Evaluator) -> Run:
    predictor = evaluator.predictor
    return Run(
        hyperparameters={"batch_size": evaluator.batch_size},
        versions={"byoc-vision": __version__, "python": sys.version.partition(" ")[0], "torch": str(torch.__version__)},
        hardware=str(find_gpus()),
        device=predictor.device,
        precision=predictor.engine.name,
        model=predictor.config.model.architecture,
        parameters=_parameters(predictor.config),
        command=shlex.join(["byoc-vision", *sys.argv[1:]]),
    )


def _decisive(config: ModelConfig) -> str:
    """As a job chooses its objective: Dice and accuracy where there is one thing to tell, mIoU and mAP of several."""
    one, several = _DECISIVE[config.task]
    if config.task == "segmentation":
        return one if len(config.classes) == 2 else several
    return several if config.activation == "sigmoid" else one


def _parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(config.model).parameters())
