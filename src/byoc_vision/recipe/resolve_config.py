"""From hyperparameters and data to decisions: which model, which input size, which loss, which objective."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from byoc_vision.artifact import ModelConfig
from byoc_vision.colours import parse_mask_colours
from byoc_vision.data.crops import RandomCrop, ResizedCrop
from byoc_vision.data.image_dataset import Crop
from byoc_vision.data.mixing import Mixing
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.errors import InputError, list_problems
from byoc_vision.evaluation.metric_names import Objective, metrics_of
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.hyperparameters.model import conflicts_with
from byoc_vision.models.names import canonical_spec
from byoc_vision.models.normalisation import NORMALISATIONS, Normalisation
from byoc_vision.models.pretrained import PretrainedInfo
from byoc_vision.preprocess import Band, Preprocess
from byoc_vision.types import ModelSpec, ResizeRule, Task

DEFAULT_MODEL: dict[Task, str] = {"segmentation": "unet", "classification": "resnet18"}
DEFAULT_SIZE: dict[Task, int] = {"segmentation": 256, "classification": 224}
DEFAULT_RESIZE: dict[Task, ResizeRule] = {"segmentation": "stretch", "classification": "short_side"}
DEFAULT_LOSS: dict[Task, str] = {"segmentation": "bce_dice", "classification": "cross_entropy"}


def data_options(hyperparameters: Hyperparameters) -> DataOptions:
    """The hyperparameters of the data."""
    return DataOptions(
        task=hyperparameters.task,
        layout=hyperparameters.data_layout,
        validation_split=hyperparameters.validation_split,
        seed=hyperparameters.seed,
        num_classes=hyperparameters.num_classes,
        num_training_samples=hyperparameters.num_training_samples,
        ignore_index=hyperparameters.ignore_index,
        mask_orientation=hyperparameters.mask_orientation,
        mask_colors=parse_mask_colours(hyperparameters.mask_colors) if hyperparameters.mask_colors else (),
        trimap_border=hyperparameters.trimap_border,
        min_class_count=hyperparameters.min_class_count,
        multi_label=hyperparameters.multi_label,
        bands=hyperparameters.bands,
        label_column=hyperparameters.label_column,
        image_column=hyperparameters.image_column,
        label_attribute=hyperparameters.label_attribute,
        on_bad_sample=hyperparameters.on_bad_sample,
        checked_pictures=hyperparameters.checked_pictures,
    )


def check_task(hyperparameters: Hyperparameters, task: Task) -> None:
    """Raises InputError that names all hyperparameters that the task does not have."""
    if problems := list(conflicts_with(task, hyperparameters)):
        raise InputError(list_problems(f"{task} does not go with these hyperparameters:", problems))


def model_spec(hyperparameters: Hyperparameters, dataset: Dataset) -> ModelSpec:
    """Raises InputError for a name that is not known, and for a field that does not belong to the task."""
    task = dataset.task
    return canonical_spec(
        ModelSpec(
            task=task,
            architecture=hyperparameters.model if hyperparameters.model != "auto" else DEFAULT_MODEL[task],
            encoder=hyperparameters.encoder,
            outputs=1 if is_binary(dataset) else len(dataset.classes),
            in_channels=len(dataset.bands) or 3,
            hidden_units=hyperparameters.hidden_units,
            dropout_rate=hyperparameters.dropout_rate,
        )
    )


def is_binary(dataset: Dataset) -> bool:
    """Two classes of pixels take one logit and a sigmoid."""
    return dataset.task == "segmentation" and len(dataset.classes) == 2


def preprocess(
    hyperparameters: Hyperparameters,
    spec: ModelSpec,
    pretrained: PretrainedInfo | None,
    bands: tuple[Band, ...] = (),
) -> Preprocess:
    """The input rule; the normalisation is that of the bands, or the one the pretrained weights were made with.

    bands: of the training images; those of a model that the job continues from win, as its weights were made with them.
    Raises InputError for settings that contradict each other.
    """
    size = DEFAULT_SIZE[spec.task]
    height, width = hyperparameters.image_size or (size, size)
    resize = hyperparameters.resize or DEFAULT_RESIZE[spec.task]
    if spec.task == "segmentation" and resize == "short_side":
        raise InputError(
            "resize: short_side cuts images, so parts of a mask would be missing; use stretch or letterbox"
        )
    short_side = hyperparameters.short_side
    if short_side is not None and resize != "short_side":
        raise InputError(f"short_side={short_side} goes with resize=short_side (classification), not with {resize}")
    if short_side is not None and short_side < max(height, width):
        raise InputError(
            f"short_side={short_side} is less than image_size={height}, {width}, which is cut out of it; "
            "raise the first or lower the second"
        )
    stated = normalisation(hyperparameters)
    rule = Preprocess(height=height, width=width, resize=resize, short_side=short_side, per_axis=True)
    if bands and stated is not None:
        raise InputError(
            f"normalization={hyperparameters.normalization} is for red, green and blue, but the images have "
            f"{len(bands)} bands, which are normalised by their own mean and std; leave normalization out"
        )
    if bands:
        bands = pretrained.bands if pretrained is not None and len(pretrained.bands) == len(bands) else bands
        mean, std = tuple(band.mean for band in bands), tuple(band.std for band in bands)
        return rule.model_copy(update={"mean": mean, "std": std, "bands": bands})
    if stated is None and pretrained is not None:
        stated = pretrained.mean, pretrained.std
    return rule.model_copy(update={"mean": stated[0], "std": stated[1]}) if stated else rule


def normalisation(hyperparameters: Hyperparameters) -> Normalisation | None:
    """The mean and std of the model's input that the job states; None if the weights decide."""
    return None if hyperparameters.normalization == "auto" else NORMALISATIONS[hyperparameters.normalization]


def training_size(hyperparameters: Hyperparameters, rule: Preprocess, task: Task) -> tuple[str, tuple[int, int]] | None:
    """The hyperparameter that gives the size of training images, and the size; None: they are as large as others.

    Larger images at test than in training: Touvron et al., "Fixing the train-test resolution discrepancy", 2019.
    Raises InputError for a size above image_size, and for a part of images whose labels are of whole images.
    """
    name = "crop_size" if hyperparameters.crop_size else "train_image_size"
    size = hyperparameters.crop_size or hyperparameters.train_image_size
    if size is None:
        return None
    if name == "crop_size" and task == "classification":
        raise InputError("crop_size is for segmentation; for classification set short_side above image_size")
    if size[0] > rule.height or size[1] > rule.width:
        because = "out of which it is cut" if name == "crop_size" else "at which the model is evaluated"
        raise InputError(
            f"{name}={size[0]}, {size[1]} is larger than image_size={rule.height}, {rule.width}, {because}; raise "
            f"image_size or lower {name}"
        )
    return name, size


def random_crop(hyperparameters: Hyperparameters, rule: Preprocess, size: tuple[int, int] | None) -> Crop:
    """The part of a resized image that training takes. size: of the part, if it is not the model's input."""
    height, width = size or (rule.height, rule.width)
    if hyperparameters.random_resized_crop or hyperparameters.train_image_size:
        return ResizedCrop(height, width, hyperparameters.random_resized_crop or 1.0)
    most = hyperparameters.random_scale
    return RandomCrop(height, width, (1 / most, most), hyperparameters.class_crops)


def mixing(hyperparameters: Hyperparameters, dataset: Dataset) -> Mixing | None:
    """How the images of a batch are mixed; None if they are not."""
    if not (hyperparameters.mixup or hyperparameters.cutmix):
        return None
    return Mixing(hyperparameters.mixup, hyperparameters.cutmix, len(dataset.classes))


def model_config_of(
    dataset: Dataset, spec: ModelSpec, rule: Preprocess, hyperparameters: Hyperparameters | None = None
) -> ModelConfig:
    """hyperparameters: of masks of two classes; what is `auto` is chosen at the end.

    Raises InputError for an image size, or classes, that no model of this image may have.
    """
    given = hyperparameters or Hyperparameters()
    threshold = 0.5 if given.mask_threshold == "auto" else given.mask_threshold
    min_area = 0.0 if given.min_area == "auto" else given.min_area
    if dataset.task == "segmentation" and not is_binary(dataset) and (given.mask_threshold != 0.5 or given.min_area):
        raise InputError(
            f"mask_threshold and min_area are for masks of two classes, and these have {len(dataset.classes)}; leave "
            "them out"
        )
    try:
        return ModelConfig(
            model=spec,
            classes=dataset.classes,
            activation="sigmoid" if is_binary(dataset) or dataset.multi_label else "softmax",
            preprocess=rule,
            threshold=threshold,
            min_area=min_area,
        )
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"{problem}; change image_size, or the classes of the data set") from error


def loss_name(hyperparameters: Hyperparameters, task: Task) -> str:
    return DEFAULT_LOSS[task] if hyperparameters.loss == "auto" else hyperparameters.loss


def objective(hyperparameters: Hyperparameters, dataset: Dataset) -> Objective:
    """The metric that the job names, or the task's default, see `metrics_of`.

    Raises InputError for a metric that the task does not have.
    """
    default, *others = metrics_of(dataset.task, multi_label=dataset.multi_label, classes=len(dataset.classes))
    name = default if hyperparameters.objective == "auto" else hyperparameters.objective
    if name not in (default, *others):
        raise InputError(f"objective={name} is not a metric of this task; take one of {', '.join([default, *others])}")
    return Objective(name, "min" if name == "loss" else "max")


def baked_weights() -> Path | None:
    """The folder of pretrained weights that the Docker image was built with; None if it has none."""
    folder = Path(os.environ.get("BYOC_PRETRAINED_DIR", "/opt/byoc/weights"))
    return folder if folder.is_dir() else None
