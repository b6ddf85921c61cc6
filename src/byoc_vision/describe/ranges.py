"""What a search may vary of a recipe: ranges around its own values, each of which a job takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from byoc_vision.describe.recipe import Recipe, read_recipe
from byoc_vision.describe.space import Categorical, Continuous, Integer, Objective, Range, SearchSpace
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.models.names import DEFAULT_ENCODER, SMP_STRIDES, TORCHVISION_FCNS, segmentation_name, squeeze
from byoc_vision.training.metric_names import figures_of

# Encoders that every architecture takes which takes a convolutional one, from the smallest on.
ENCODERS = ("mobilenet_v2", "resnet18", "resnet34", "efficientnet-b0")
AUGMENTATIONS = ("flip", "light", "strong")
OPTIMIZERS = ("adamw", "sgd")
LOSSES = ("bce_dice", "cross_entropy", "dice", "focal")
SMOOTHED_LOSSES = ("bce_dice", "cross_entropy")
HIDDEN_UNITS = ("[]", "256", "512")

_OWN_ENCODER_ONLY = ("dpt",)  # it needs a vision transformer, each of which has its own sizes
_USUAL_DECAYS = (1e-6, 1e-2)  # where the recipe has none, which has no logarithm
_MOST_DROPOUT = 0.6
_LEAST = 1e-30  # of what is searched by its logarithm


def search_space(recipe: Recipe | Path | str, metric: str | None = None, keep: Collection[str] = ()) -> SearchSpace:
    """The objective of a recipe, a range for each hyperparameter that is worth a search, and what stays as it is.

    recipe: read already, or what `read_recipe` takes. metric: another objective, as `validation:f1` or `f1`.
    keep: hyperparameters that stay as the recipe has them.

    Each range holds the recipe's own value, and any point of the space with `fixed` is a valid job. `objective` is
    among what is fixed, so that a job keeps the epoch which the search would choose.

    Raises InputError for a recipe that cannot be read, a figure that its task does not have, and a name to keep that
    would not vary anyway.
    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    figure = _figure(recipe, metric)
    ranges = {found.name: found for found in _ranges(recipe, figure)}
    if unknown := sorted(set(keep) - set(ranges)):
        raise InputError(f"keep={', '.join(unknown)} does not vary; what does is {', '.join(ranges)}")
    varied = tuple(found for name, found in ranges.items() if name not in keep)
    if not varied:
        raise InputError("keep: nothing is left to vary; keep fewer")
    fixed = recipe.without({*(found.name for found in varied), "objective"}) | {"objective": figure}
    return SearchSpace(Objective(f"validation:{figure}", "minimize" if figure == "loss" else "maximize"), varied, fixed)


def _figure(recipe: Recipe, metric: str | None) -> str:
    """The figure that decides: the one asked for, the recipe's, or the usual one of its task."""
    asked = recipe.hyperparameters
    known = figures_of(recipe.task, multi_label=bool(asked.multi_label), classes=asked.num_classes)
    if metric is None:
        return known[0] if asked.objective == "auto" else _known(asked.objective, known, "objective")
    return _known(metric.removeprefix("validation:"), known, "metric")


def _known(figure: str, known: Collection[str], field: str) -> str:
    if figure not in known:
        names = ", ".join(f"validation:{name}" for name in known)
        raise InputError(f"{field}={figure} is no figure of this task; take one of {names}")
    return figure


def _ranges(recipe: Recipe, figure: str) -> Iterator[Range]:
    asked = recipe.hyperparameters
    yield _around("learning_rate", asked.learning_rate, factor=10, most=10.0)
    yield _weight_decay(asked.weight_decay)
    if not asked.auto_batch_size:
        yield Integer("batch_size", *_batch_sizes(asked.batch_size), logarithmic=True)
    yield Integer("epochs", *_epochs(asked))
    yield _choice("optimizer", asked.optimizer, OPTIMIZERS)
    yield _choice("augmentation", asked.augmentation, AUGMENTATIONS)
    if recipe.task == "classification":
        yield Continuous("dropout_rate", 0.0, max(_MOST_DROPOUT, asked.dropout_rate))
        yield _choice("hidden_units", ", ".join(map(str, asked.hidden_units)) or "[]", HIDDEN_UNITS)
    else:
        yield from _of_segmentation(asked, figure)
    if _learns_slowly(recipe):
        yield _around("encoder_lr_factor", asked.encoder_lr_factor, factor=5, most=1.0)


def _of_segmentation(asked: Hyperparameters, figure: str) -> Iterator[Range]:
    if figure != "loss":  # losses of several kinds cannot be compared
        losses = SMOOTHED_LOSSES if asked.label_smoothing else LOSSES
        yield _choice("loss", "bce_dice" if asked.loss == "auto" else asked.loss, losses)
    encoder = _encoder(asked)
    if encoder is not None and _architecture(asked) not in _OWN_ENCODER_ONLY:
        yield _choice("encoder", encoder, ENCODERS)


def _architecture(asked: Hyperparameters) -> str | None:
    return segmentation_name("unet" if asked.model == "auto" else asked.model, asked.encoder)


def _encoder(asked: Hyperparameters) -> str | None:
    """The encoder that the job would have; None of the classic U-Net, and of models whose encoder is in their name."""
    architecture = _architecture(asked)
    if architecture not in SMP_STRIDES or (architecture == "unet" and asked.encoder is None):
        return None
    return asked.encoder or DEFAULT_ENCODER


def _learns_slowly(recipe: Recipe) -> bool:
    """Whether what the encoder has learnt before may be worth a learning rate of its own."""
    asked = recipe.hyperparameters
    if recipe.task == "segmentation" and _encoder(asked) is None and _architecture(asked) not in TORCHVISION_FCNS:
        return False  # the classic U-Net
    return asked.pretrained is True or asked.encoder_lr_factor != 1


def _choice(name: str, own: str, usual: Collection[str]) -> Categorical:
    """The recipe's own value first, then the usual ones, none of them twice in two spellings."""
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
    """From half to twice the recipe's. Not down to one, of which batch normalisation cannot learn everywhere."""
    return min(own, max(2, own // 2)), own * 2


def _epochs(asked: Hyperparameters) -> tuple[int, int]:
    """From half the recipe's epochs to one and a half times as many; the encoder learns in some of them at least."""
    return max(asked.freeze_epochs + 1, -(-asked.epochs // 2)), max(asked.epochs * 3 // 2, asked.epochs + 1)


def _rounded(value: float) -> float:
    """0.06, where a division gives 0.060000000000000005."""
    return float(f"{value:.6g}")
