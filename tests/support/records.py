"""What jobs could have left about themselves: records with images, drawn by rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from support.record_images import blob, car, class_examples, mask_examples, save, several_class_examples

from byoc_vision.data.preflight.report import (
    REPORT_FILE,
    Channels,
    ClassReport,
    Coverage,
    Duplicates,
    PreflightReport,
    Range,
    Tones,
    write_report,
)
from byoc_vision.report.record import (
    IMAGES_FOLDER,
    BudgetPlan,
    BudgetRecord,
    CalibrationBin,
    ClassScore,
    Epoch,
    Evaluation,
    Finding,
    Floor,
    Operator,
    Profile,
    Reading,
    RecipeChoice,
    Record,
    Run,
    Served,
    ServedPrecision,
    SlowStep,
    StepTimes,
    Times,
    write_record,
)
from byoc_vision.types import ClassInfo

ANIMALS = ("cat", "dog", "horse", "red panda", "sheep", "zebra")
# What names may hold, since anyone may give them.
HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "naïve 猫 & ${dog} {{ 7 * 7 }}", "</style>")

SERVED = Served(
    objective="validation:dice",
    images=200,
    precisions=[
        ServedPrecision(precision="float32", validation={"dice": 0.9701}, milliseconds=99.4),
        ServedPrecision(precision="int8", validation={"dice": 0.9694}, milliseconds=26.1, differing=0.0012),
    ],
    int8="certified",
)
BUDGET = BudgetRecord(
    budget="20m",
    seconds=1200.0,
    planned=BudgetPlan(
        epochs=34, steps=1564, step_seconds=0.41, evaluation_seconds=12.1, training_ends=1074.2, job_ends=1153.0
    ),
    actual=BudgetPlan(
        epochs=29, steps=1334, step_seconds=0.52, evaluation_seconds=13.0, training_ends=1081.5, job_ends=1148.7
    ),
    changes=2,
)
CHOICES = [
    RecipeChoice(
        name="linear_probe", value=True, reason="the pretrained features give a floor, and a start for the head"
    ),
    RecipeChoice(name="learning_rate", value=3e-4, reason="there are only 200 images, and larger steps spoil features"),
    RecipeChoice(name="epochs", value=34, reason="as many fit into budget=20m"),
]


def segmentation_job(folder: Path, epochs: int = 24, **changes: Any) -> Record:
    """A car and its background; the best epoch is two thirds along."""
    random = np.random.default_rng(0)
    best = max(1, epochs * 2 // 3)
    history = _epochs(epochs, best, {"dice": 0.97, "miou": 0.95, "iou_background": 0.99, "iou_car": 0.94})
    scores = [
        ClassScore(name="background", support=8_000_000, precision=0.993, recall=0.991, f1=0.992, iou=0.984),
        ClassScore(name="car", support=2_100_000, precision=0.967, recall=0.972, f1=0.969, iou=0.941),
    ]
    histogram = [0] * 12 + [1, 0, 2, 3, 5, 11, 47, 131]
    examples = {name: mask_examples(folder, name, 8) for name in ("worst", "best", "random")}
    evaluation = Evaluation(
        split="validation",
        epoch=best,
        images=200,
        metrics=history[best - 1].validation,
        classes=scores,
        confusion=[[7_928_000, 72_000], [58_800, 2_041_200]],
        dice_histogram=histogram,
        galleries=examples,
    )
    record = Record(
        package_version="0.1.0",
        task="segmentation",
        name="carvana-unet-2026-11-21",
        state="stopped_early",
        reason=f"No better Dice for {epochs - best} epochs (early_stopping_patience).",
        classes=[ClassInfo(name="background", value=0), ClassInfo(name="car", value=255)],
        images={"train": 800, "validation": 200, "test": 100},
        objective="validation:dice",
        best_epoch=best,
        validation=history[best - 1].validation,
        test={"dice": 0.9665, "miou": 0.951},
        seconds=3_725.0,
        gpu_seconds=3_725.0,
        epochs=history,
        planned_epochs=epochs * 2,
        findings=FINDINGS,
        evaluations=[evaluation, evaluation.model_copy(update={"split": "test", "images": 100, "galleries": {}})],
        times=_times(random, 300, on_gpu=True),
        augmented=[save(folder, f"augmented-{place}.jpg", car(place + 40)[0]) for place in range(8)],
        served=SERVED,
        run=_run("unet (resnet34)", 24_430_097),
    ).model_copy(update=changes)
    _preflight(folder, record)
    write_record(folder, record)
    return record


def classification_job(folder: Path, names: Sequence[str] = ANIMALS, epochs: int = 12, **changes: Any) -> Record:
    random = np.random.default_rng(1)
    history = _epochs(epochs, epochs, {"accuracy": 0.91, "f1": 0.9})
    confusion = _confusion(random, len(names))
    galleries = {name: class_examples(folder, name, names, 8) for name in ("worst", "best", "random")}
    evaluation = Evaluation(
        split="validation",
        epoch=epochs,
        images=int(confusion.sum()),
        metrics=history[-1].validation if history else {},
        classes=_scores(confusion, names),
        confusion=confusion.tolist(),
        calibration=_calibration(),
        ece=0.0421,
        galleries=galleries,
    )
    record = Record(
        package_version="0.1.0",
        task="classification",
        name="animals",
        state="finished",
        classes=[ClassInfo(name=name) for name in names],
        images={"train": 4_000, "validation": evaluation.images},
        objective="validation:accuracy",
        best_epoch=epochs,
        validation=history[-1].validation,
        seconds=412.0,
        epochs=history,
        planned_epochs=epochs,
        evaluations=[evaluation],
        times=_times(random, 60, on_gpu=False),
        augmented=[save(folder, f"augmented-{place}.jpg", blob(place)) for place in range(8)],
        floor=Floor(validation={"accuracy": 0.83, "f1": 0.82}, seconds=13.0),
        budget=BUDGET,
        run=_run("resnet18", 11_179_590).model_copy(update={"choices": CHOICES}),
    ).model_copy(update=changes)
    _preflight(folder, record)
    write_record(folder, record)
    return record


def multi_label_job(folder: Path, names: Sequence[str] = ANIMALS) -> Record:
    """Images of several animals each, or of none."""
    random = np.random.default_rng(2)
    scores = [
        ClassScore(name=name, support=40 + 10 * place, precision=0.8, recall=0.7, f1=0.75, average_precision=score)
        for place, (name, score) in enumerate(zip(names, random.uniform(0.5, 0.95, len(names)), strict=True))
    ]
    record = classification_job(folder, names)
    evaluation = record.evaluations[0].model_copy(
        update={
            "metrics": {"map": 0.78, "micro_f1": 0.74, "exact_match": 0.5},
            "classes": scores,
            "confusion": None,
            "calibration": None,
            "ece": None,
            "galleries": {"random": several_class_examples(folder, names, 6)},
        }
    )
    history = _epochs(8, 7, {"map": 0.78, "micro_f1": 0.74})
    changes = {"multi_label": True, "objective": "validation:map", "evaluations": [evaluation], "epochs": history}
    record = record.model_copy(update=changes | {"best_epoch": 7, "validation": history[6].validation})
    write_record(folder, record)
    return record


def large_job(folder: Path) -> Record:
    """500 classes, 1,000 epochs, 10,000 readings, and large images."""
    names = [f"species {place:03}" for place in range(500)]
    noise = np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8)
    record = classification_job(folder, names, epochs=1000)
    for image in (folder / IMAGES_FOLDER).iterdir():
        cv2.imwrite(str(image), noise, [cv2.IMWRITE_JPEG_QUALITY, 95])
    record = record.model_copy(update={"times": _times(np.random.default_rng(4), 10_000, on_gpu=True)})
    write_record(folder, record)
    return record


def one_epoch_job(folder: Path) -> Record:
    """On a processor; its history holds a loss that is not a number."""
    return segmentation_job(folder, epochs=1, planned_epochs=1, state="finished", reason=None, findings=[])


def barely_begun_job(folder: Path, **changes: Any) -> Record:
    """Stopped before its first epoch was complete: nothing is known but what was asked for."""
    record = Record(
        package_version="0.1.0",
        task="segmentation",
        state="interrupted",
        classes=[ClassInfo(name="background", value=0), ClassInfo(name="car", value=255)],
        images={"train": 8},
        objective="validation:dice",
        planned_epochs=20,
        run=Run(hyperparameters={"epochs": 20}),
    ).model_copy(update=changes)
    write_record(folder, record)
    return record


FINDINGS = [
    Finding(
        rule="Overfit",
        epoch=19,
        evidence="The validation loss, 0.412, is 1.9 times the training loss, 0.217, and grows since epoch 16.",
        remedy="Stop earlier (early_stopping), augment more (augmentation=strong), or take weight_decay=0.05.",
    ),
    Finding(
        rule="VanishingGradient",
        epoch=2,
        step=40,
        evidence="The gradients of encoder.layer1.0.conv1 have a mean of 3.1e-9.",
        remedy="Raise learning_rate, or begin with pretrained=true.",
    ),
]


def _epochs(count: int, best: int, goals: dict[str, float]) -> list[Epoch]:
    """Losses that fall, figures that come near their goals; a bit less good on both sides of the best."""
    random = np.random.default_rng(count)
    epochs = []
    for epoch in range(1, count + 1):
        progress = 1 - np.exp(-4 * epoch / best)
        worse = max(0, epoch - best) / count
        figures = {name: round(goal * progress - 0.05 * worse, 4) for name, goal in goals.items()}
        loss = 0.9 * (1 - progress) + 0.15 + 0.3 * worse + 0.02 * random.random()
        epochs.append(
            Epoch(
                epoch=epoch,
                learning_rate=1e-3 * 0.5 * (1 + np.cos(np.pi * epoch / (count + 1))),
                train_loss=0.8 * (1 - progress) + 0.1 + 0.02 * random.random(),
                validation=figures | {"loss": loss},
                seconds=150 + 5 * random.random(),
                images_per_second=210 + 20 * random.random(),
                data_wait=0.08 * random.random(),
            )
        )
    return epochs


def _times(random: np.random.Generator, readings: int, on_gpu: bool) -> Times:
    total = StepTimes(data_wait=310, to_device=42, forward=980, backward=1_850, optimizer=160, other=90)
    slow = [
        SlowStep(
            epoch=1 + place,
            step=17 * (place + 1),
            seconds=2.1 - 0.2 * place,
            times=StepTimes(data_wait=1.5 - 0.2 * place, to_device=0.05, forward=0.2, backward=0.3, optimizer=0.05),
        )
        for place in range(6)
    ]
    operators = [
        Operator(name=name, calls=400, cpu_seconds=0.4 / (place + 1), gpu_seconds=1.2 / (place + 1) if on_gpu else 0.0)
        for place, name in enumerate(("aten::convolution_backward", "aten::cudnn_convolution", "aten::batch_norm"))
    ]
    seen = [
        Reading(
            seconds=12.0 * place,
            cpu=float(np.clip(0.7 + 0.2 * random.standard_normal(), 0, 1)),
            memory=round(9e9 + 1e6 * place),
            gpu=float(np.clip(0.9 + 0.1 * random.standard_normal(), 0, 1)) if on_gpu else None,
            gpu_memory=11_200_000_000 if on_gpu else None,
        )
        for place in range(readings)
    ]
    return Times(
        steps=12_000,
        total=total,
        slowest=slow,
        readings=seen,
        memory_limit=64_000_000_000,
        gpu_memory_limit=16_000_000_000 if on_gpu else None,
        profile=Profile(steps=(10, 20), trace="profile/trace.json.gz", operators=operators),
    )


def _run(model: str, parameters: int) -> Run:
    given = {"epochs": 48, "learning_rate": 0.001, "encoder": "resnet34", "augmentation": "standard"}
    defaults = {"batch_size": 16, "optimizer": "adamw", "weight_decay": 0.01, "pretrained": "auto", "seed": 42}
    others = {"clip_grad_norm": None, "early_stopping": True, "precision": "auto", "resume": "auto", "tta": False}
    return Run(
        hyperparameters=given | defaults | others,
        given=list(given),
        versions={"Python": "3.11.7", "torch": "2.15.0", "torchvision": "0.29.2", "OpenCV": "5.0.0"},
        hardware="ml.g5.xlarge: NVIDIA A10G, 4 cores of an AMD EPYC 7R32, 16 GB",
        device="cuda",
        precision="float16",
        seed=42,
        revision="f5f3ca9",
        model=model,
        parameters=parameters,
        command="docker run --gpus all -v $PWD/ml:/opt/ml byoc-vision train",
    )


def _scores(confusion: np.ndarray, names: Sequence[str]) -> list[ClassScore]:
    right = np.diag(confusion)
    targets, answers = np.maximum(confusion.sum(axis=1), 1), np.maximum(confusion.sum(axis=0), 1)
    return [
        ClassScore(
            name=name,
            support=int(confusion[place].sum()),
            precision=float(right[place] / answers[place]),
            recall=float(right[place] / targets[place]),
            f1=float(2 * right[place] / (targets[place] + answers[place])),
        )
        for place, name in enumerate(names)
    ]


def _confusion(random: np.random.Generator, classes: int) -> np.ndarray:
    """Neighbours are taken for each other."""
    confusion = random.integers(0, 3, (classes, classes)) * (random.random((classes, classes)) < 0.3)
    confusion += np.diag(random.integers(30, 90, classes)) + np.diag(random.integers(0, 14, classes - 1), 1)
    return np.asarray(confusion, np.int64)


def _calibration() -> list[CalibrationBin]:
    counts = [0, 3, 9, 14, 22, 30, 41, 66, 120, 300]
    return [
        CalibrationBin(
            images=count,
            confidence=(place + 0.55) / 10 if count else None,
            accuracy=min(1.0, (place + 0.3) / 10 * 0.97) if count else None,
        )
        for place, count in enumerate(counts)
    ]


def _preflight(folder: Path, record: Record) -> None:
    masks = record.task == "segmentation"
    report = PreflightReport(
        task=record.task,
        samples=record.images,
        checked=record.images,
        classes=[
            ClassReport(entry.name, entry.value, {"train": 40 + 7 * place, "validation": 10}, 0.5 if masks else None)
            for place, entry in enumerate(record.classes)
        ],
        ignore_value=None,
        ignored_share=None,
        height=Range(1280, 1280, 1280),
        width=Range(1918, 1918, 1918),
        input_size=(512, 768),
        smaller=0,
        channels=Channels((0.69, 0.68, 0.68), (0.24, 0.25, 0.25)),
        tones=Tones(800, 0, 0, 2, 0),
        coverage=Coverage(0.08, 0.21, 0.35, 800, 0, 0) if masks else None,
        duplicates=Duplicates(within=3),
        unlabelled=None,
        bad=[],
        bad_count=0,
        skipped=False,
        warnings=["3 images repeat another of their split, byte for byte: the figures count them twice"],
        errors=[],
        seconds=2.1,
    )
    write_report(folder / REPORT_FILE, report)
