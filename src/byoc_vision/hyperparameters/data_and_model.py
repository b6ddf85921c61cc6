"""The hyperparameters of the data and of the network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict

from byoc_vision.hyperparameters.fields import (
    SPELT,
    ClassCount,
    Count,
    DataLayout,
    Fraction,
    IgnoredValue,
    MaskColors,
    Normalization,
    Share,
    TaskName,
    Units,
    field,
)


class DataAndModel(BaseModel):
    """Each field's description is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    # The task and the data
    task: TaskName = field("auto", "The task. `auto` detects it from the data: class folders or images with masks.")
    data_layout: DataLayout = field("auto", "How the data are stored. `auto` detects it.")
    num_classes: ClassCount | None = field(
        None, "The number of classes. By default found in the data; if given, compared with them."
    )
    num_training_samples: Count | None = field(
        None, "The number of training images. They are counted in any case; a warning tells if the number differs."
    )
    ignore_index: IgnoredValue | None = field(
        None, "The mask value that no loss and no metric counts. By default 255 if masks have more than two values."
    )
    mask_colors: MaskColors = field(
        "",
        "The classes of masks in colours, as `background=#000000, car=#800000` or a JSON object. The class `ignore` "
        "does not count. By default from files such as `labelmap.txt`; otherwise each colour in the masks is a class.",
        "mask_colours",
    )
    trimap_border: Annotated[Literal["ignore", "class"], SPELT] = field(
        "ignore", "Whether the border in the Oxford pets' trimaps is ignored or a class of its own."
    )
    mask_orientation: Annotated[Literal["auto", "upright", "stored"], SPELT] = field(
        "auto",
        "Masks of images that EXIF turns: of the `upright` image or the `stored` pixels. `auto`: by their size.",
    )
    multi_label: bool | None = field(
        None, "Whether an image may have any number of classes. By default detected from the labels."
    )
    label_column: str | None = field(
        None,
        "CSV tables: the column of the labels, or columns of 0 and 1 (or -1 and 1), a class each, with commas between "
        "them. By default found by name or by values.",
    )
    image_column: str | None = field(
        None, "CSV tables: the column that names the images. By default the one whose values are names of images."
    )
    label_attribute: str | None = field(
        None, "Augmented manifests: the attribute of the labels or masks. Needed if the lines have several."
    )
    min_class_count: Count | None = field(
        None,
        "Classes with fewer training images are left out. By default 50 for Polyvore, none for other data.",
    )
    validation_split: Share | None = field(
        None,
        "The share of the training images that is held out if there is no validation channel. By default 0.2, or 0.25 "
        "for the Oxford pets.",
    )
    on_bad_sample: Annotated[Literal["fail", "skip"], SPELT] = field(
        "fail",
        "Whether an invalid image or mask ends the job with an error that names it, or is left out with a warning.",
    )
    checked_pictures: Count | None = field(
        None,
        "The number of images that are decoded and checked before training; the others are read in the first epoch. By "
        "default as many as take about two seconds: 25 MB of JPEG per core.",
    )

    # The model
    model: str = field(
        "auto",
        "`unet`, `unet_small`, `unetplusplus`, `fpn`, `pspnet`, `deeplabv3`, `deeplabv3plus`, … (with `encoder`), "
        "`fcn_resnet50`, `fcn_resnet101`, or any timm classifier. `auto`: `unet` or `resnet18`.",
        "architecture",
        "algorithm",
    )
    encoder: str | None = field(
        None, "The encoder of a segmentation model. `unet` without one is the classic U-Net.", "backbone"
    )
    pretrained: bool | Annotated[Literal["auto"], SPELT] = field(
        "auto",
        "Start from pretrained weights: of a `pretrained` channel, of the Docker image, or from the model hub. `auto`: "
        "a warning if there are none; `true`: an error.",
        "use_pretrained_model",
    )
    normalization: Normalization = field(
        "auto",
        "The mean and std of the model's input: `auto` (those of the pretrained weights, else ImageNet's), `imagenet`, "
        "`inception` (0.5), `clip`, `dpn`, or `none` (0 and 1). For pretrained weights whose file does not say them; "
        "images with bands have their own.",
    )
    hidden_units: Units = field(
        (), "Sizes of hidden layers in the classifier's head, as `512` or `512, 128`. By default one linear layer."
    )
    dropout_rate: Fraction | None = field(
        None, "Dropout in the classifier's head; 0: none. By default the network's own.", "dropout"
    )
    sync_batch_norm: bool = field(
        False, "Batch normalisation over the batches of all GPUs instead of each GPU's own.", "syncbn"
    )
