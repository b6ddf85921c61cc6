"""The ranges of a search around a recipe's own values; jobs take every value in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from byoc_vision.describe.recipe import Recipe, read_recipe
from byoc_vision.describe.space import Categorical, Continuous, Integer, Objective, Range, SearchSpace
from byoc_vision.errors import InputError
from byoc_vision.evaluation.metric_names import metrics_of
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.models.names import DEFAULT_ENCODER, SMP_STRIDES, TORCHVISION_FCNS, segmentation_name, squeeze

# Encoders of every architecture that takes convolutional ones, the smallest first.
ENCODERS = ("mobilenet_v2", "resnet18", "resnet34", "efficientnet-b0")
AUGMENTATIONS = ("flip", "light", "strong")
OPTIMIZERS = ("adamw", "sgd")
LOSSES = ("bce_dice", "cross_entropy", "dice", "focal")
SMOOTHED_LOSSES = ("bce_dice", "cross_entropy")
HIDDEN_UNITS = ("[]", "256", "512")

_OWN_ENCODER_ONLY = ("dpt",)  # it needs a vision transformer, each of which has its own sizes
_USUAL_DECAYS = (1e-6, 1e-2)  # if the recipe has 0, which has no logarithm
_MOST_DROPOUT = 0.6
_LEAST = 1e-30  # of logarithmic ranges


def search_space(recipe: Recipe | Path | str, metric: str | None = None, keep: Collection[str] = ()) -> SearchSpace:
    """The objective of a recipe, a range for each hyperparameter worth a search, and the fixed hyperparameters.

    recipe: a recipe, or what `read_recipe` takes. metric: another objective, as `validation:f1` or `f1`.
    keep: hyperparameters that stay fixed.

    Each range holds the recipe's own value, and any point of the space with `fixed` is a valid job. `objective` is
    among the fixed ones, so that a job keeps the epoch that the search would choose.

    Raises InputError for a recipe that cannot be read, a metric that its task does not have, and a name to keep that
    would not vary anyway.
    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    metric = _objective_metric(recipe, metric)
    ranges = {found.name: found for found in _ranges(recipe, metric)}
    if unknown := sorted(set(keep) - set(ranges)):
        raise InputError(f"keep={', '.join(unknown)} does not vary; choose from {', '.join(ranges)}")
    varied = tuple(found for name, found in ranges.items() if name not in keep)
    if not varied:
        raise InputError("keep: nothing is left to vary; keep fewer")
    fixed = recipe.without({*(found.name for found in varied), "objective"}) | {"objective": metric}
    return SearchSpace(Objective(f"validation:{metric}", "minimize" if metric == "loss" else "maximize"), varied, fixed)


def _objective_metric(recipe: Recipe, metric: str | None) -> str:
    """The metric to optimise: the requested one, the recipe's, or the usual one of its task."""
    job = recipe.hyperparameters
    known = metrics_of(recipe.task, multi_label=bool(job.multi_label), classes=job.num_classes)
    if metric is None:
        return known[0] if job.objective == "auto" else _known(job.objective, known, "objective")
    return _known(metric.removeprefix("validation:"), known, "metric")


def _known(metric: str, known: Collection[str], field: str) -> str:
    if metric not in known:
        names = ", ".join(f"validation:{name}" for name in known)
        raise InputError(f"{field}={metric} is not a metric of this task; take one of {names}")
    return metric


def _ranges(recipe: Recipe, metric: str) -> Iterator[Range]:
    job = recipe.hyperparameters
    yield _around("learning_rate", job.learning_rate, factor=10, most=10.0)
    yield _weight_decay(job.weight_decay)
    if not job.auto_batch_size:
        yield Integer("batch_size", *_batch_sizes(job.batch_size), logarithmic=True)
    yield from _lengths(job)
    yield _choice("optimizer", job.optimizer, OPTIMIZERS)
    yield _choice("augmentation", job.augmentation, AUGMENTATIONS)
    if recipe.task == "classification":
        yield Continuous("dropout_rate", 0.0, max(_MOST_DROPOUT, job.dropout_rate or 0.0))
        yield _choice("hidden_units", ", ".join(map(str, job.hidden_units)) or "[]", HIDDEN_UNITS)
    else:
        yield from _of_segmentation(job, metric)
    if _learns_slowly(recipe):
        yield _around("encoder_lr_factor", job.encoder_lr_factor, factor=5, most=1.0)


def _of_segmentation(job: Hyperparameters, metric: str) -> Iterator[Range]:
    if metric != "loss":  # values of different losses cannot be compared
        losses = SMOOTHED_LOSSES if job.label_smoothing else LOSSES
        yield _choice("loss", "bce_dice" if job.loss == "auto" else job.loss, losses)
    encoder = _encoder(job)
    if encoder is not None and _architecture(job) not in _OWN_ENCODER_ONLY:
        yield _choice("encoder", encoder, ENCODERS)


def _architecture(job: Hyperparameters) -> str | None:
    return segmentation_name("unet" if job.model == "auto" else job.model, job.encoder)


def _encoder(job: Hyperparameters) -> str | None:
    """The job's encoder; None for the classic U-Net, and for models with the encoder in their name."""
    architecture = _architecture(job)
    if architecture not in SMP_STRIDES or (architecture == "unet" and job.encoder is None):
        return None
    return job.encoder or DEFAULT_ENCODER


def _learns_slowly(recipe: Recipe) -> bool:
    """Whether a learning rate of its own may suit the encoder, because it is pretrained."""
    job = recipe.hyperparameters
    if recipe.task == "segmentation" and _encoder(job) is None and _architecture(job) not in TORCHVISION_FCNS:
        return False  # the classic U-Net
    return job.pretrained is True or job.encoder_lr_factor != 1


def _choice(name: str, own: str, usual: Collection[str]) -> Categorical:
    """The recipe's own value first, then the usual ones, without other spellings of the same value."""
    others = (value for value in usual if squeeze(value) != squeeze(own))
    return Categorical(name, (own, *others))


def _around(name: str, own: float, factor: float, most: float) -> Continuous:
    """From the recipe's value divided by `factor` to `factor` times it, or to `most`."""
    low, high = max(own / factor, _LEAST), min(own * factor, most)
    return Continuous(name, min(own, _rounded(low)), max(own, _rounded(high)), logarithmic=True)


def _weight_decay(own: float) -> Continuous:
    if own == 0:
        return Continuous("weight_decay", *_USUAL_DECAYS, logarithmic=True)
    return _around("weight_decay", own, factor=100, most=1.0)


def _batch_sizes(own: int) -> tuple[int, int]:
    """From half to twice the recipe's, but not 1, with which batch normalisation cannot always learn."""
    return min(own, max(2, own // 2)), own * 2


def _lengths(job: Hyperparameters) -> Iterator[Range]:
    """Of a job that says how long it trains: none if its budget does."""
    if job.steps:
        yield Integer("steps", -(-job.steps // 2), job.steps * 3 // 2 + 1)
    elif not job.budget:
        yield Integer("epochs", *_epochs(job))


def _epochs(job: Hyperparameters) -> tuple[int, int]:
    """From half the recipe's epochs to one and a half times as many; the encoder learns in at least one."""
    return max(job.freeze_epochs + 1, -(-job.epochs // 2)), max(job.epochs * 3 // 2, job.epochs + 1)


def _rounded(value: float) -> float:
    """0.06 instead of 0.060000000000000005."""
    return float(f"{value:.6g}")
