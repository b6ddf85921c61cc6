"""The hyperparameters of a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)
from pydantic_core import PydanticCustomError

from byoc_vision.hyperparameters.data_and_model import DataAndModel
from byoc_vision.hyperparameters.fields import (
    MOST,
    SPELT,
    AugmentationText,
    Budget,
    ClassWeights,
    Count,
    CountOrZero,
    Epochs,
    FigureName,
    Fraction,
    HealthAction,
    HealthThresholds,
    PrecisionName,
    Resize,
    Seed,
    Share,
    Side,
    Size,
    Steps,
    Workers,
    field,
)
from byoc_vision.types import Task


class Hyperparameters(DataAndModel):
    """Each field's description is its documentation."""

    # The images
    image_size: Size | None = field(
        None,
        "The model's input, as `256`, `height, width` or `192x256`, of 8 to 16,384 pixels. By default 256 for "
        "segmentation, or what the recipe chooses, and 224 for classification.",
        "base_size",
    )
    resize: Resize | None = field(
        None,
        "How an image is resized to `image_size`: `stretch`, `letterbox`, or for classification `short_side` (center "
        "crop). By default `stretch` for segmentation and `short_side` for classification.",
    )
    short_side: Side | None = field(
        None,
        "Classification: the length in pixels to which an image's shorter side is resized before `image_size` is "
        "cropped from the centre (in training at random). By default as `image_size`.",
    )
    crop_size: Size | None = field(
        None, "Segmentation: train on random crops of this size, taken from the images at `image_size`."
    )
    random_scale: Annotated[float, Field(ge=1, le=10)] = field(
        1.0,
        "Segmentation: images and masks are magnified at random, between one part in so many and so many times, with "
        "their proportions; 1: as they are.",
    )
    class_crops: Fraction = field(
        0.0,
        "Segmentation: the share of random crops around a pixel of a class that is drawn evenly among the image's.",
    )
    augmentation: AugmentationText = field(
        "light",
        "How training images are augmented: `none`, `flip`, `light`, `strong`, `trivial`; `crop`, `crop_color`, "
        "`crop_color_transform`; or a JSON file that albumentations saved, in the channel `augmentation`.",
        "augmentation_type",
    )
    random_resized_crop: Share | None = field(
        None,
        "Classification: the least share of an image's area that a random crop takes, such as 0.35, before it is "
        "resized; instead of the crops of `augmentation`.",
    )
    train_image_size: Size | None = field(
        None,
        "Classification: train on images of this size, smaller than `image_size`, at which the model is evaluated and "
        "served. With `random_resized_crop` things are as large in both.",
    )
    mixup: NonNegativeFloat = field(
        0.0,
        "Classification: training images are blended in pairs, and their labels alike, with shares from Beta(alpha, "
        "alpha); this is alpha, such as 0.2. 0: not. With `cutmix` too, each batch takes one of both.",
    )
    cutmix: NonNegativeFloat = field(
        0.0,
        "Classification: a box of each training image comes from another one, and as much of its label; this is alpha "
        "of the Beta distribution of shares, such as 1. 0: not.",
    )
    mask_threshold: Share | Annotated[Literal["auto"], SPELT] = field(
        0.5,
        "Masks of two classes: the probability above which a pixel has the second one. `auto`: that of the best metric "
        "on the validation images, at the end.",
    )
    min_area: Fraction | Annotated[Literal["auto"], SPELT] = field(
        0.0,
        "Masks of two classes: connected parts of the second one below this share of the image are left out. `auto`: "
        "the share of the best metric on the validation images, at the end.",
    )
    bands: Annotated[int, Field(ge=1, le=16)] | None = field(
        None,
        "The number of bands of TIFF, PNG and npy images that are not photographs: more than three, or 16 bits. By "
        "default detected. Each band is stretched from its 1st to its 99th percentile in the training images.",
    )

    # The optimisation
    recipe: Annotated[Literal["auto", "none"], SPELT] = field(
        "auto",
        "`auto`: with pretrained weights, what the job does not set is chosen from the data and the model; the log and "
        "the report give the reasons. `none`: the defaults of this table.",
    )
    epochs: Count = field(10, "Passes over the training images.", "num_epochs")
    steps: Count | None = field(
        None,
        "The number of optimiser steps, instead of `epochs`; the last pass over the images may be cut short. The "
        "validation images are evaluated after each pass, and at the end.",
        "max_steps",
    )
    budget: Budget | None = field(
        None,
        "The time that the job may take on this machine, from its start to its end. It measures its own steps, chooses "
        "how many fit, and ends the schedule with them; `epochs` or `steps`, if given, are then the most. `auto`: "
        "SageMaker's MaxRuntimeInSeconds less a reserve.",
    )
    batch_size: Count = field(
        16, "Images per step and process (one process per GPU).", "mini_batch_size", "train_batch_size"
    )
    validation_batch_size: Count | None = field(
        None,
        "Images per step in evaluation. By default as `batch_size`.",
        "validation_mini_batch_size",
        "test_batch_size",
    )
    loss: Annotated[Literal["auto", "cross_entropy", "dice", "bce_dice", "focal"], SPELT] = field(
        "auto", "`auto`: `bce_dice` for segmentation, `cross_entropy` for classification."
    )
    label_smoothing: Fraction = field(0.0, "The share of the target that is spread over all classes.")
    class_weights: ClassWeights = field(
        "none",
        "The weight of each class in the loss: `balanced` (the inverse of its number of images or pixels), `sqrt` (the "
        "square root of that), `effective` (the effective number of samples), or a list with a weight for each class.",
    )
    effective_number_beta: Share = field(
        0.999, "Beta of `class_weights=effective`: values closer to 1 give rare classes more weight."
    )
    sampling: Annotated[Literal["natural", "balanced", "undersample"], SPELT] = field(
        "natural",
        "Classification: which images an epoch draws. `balanced`: the same number of each class, rare ones several "
        "times; `undersample`: of each class as many as the rarest class has, different ones in each epoch.",
    )
    freeze_epochs: Annotated[int, Field(ge=0, le=MOST - 1)] = field(
        0, "Train only the head for this number of epochs; the encoder and its batch-norm statistics do not change."
    )
    freeze_batch_norm: bool = field(
        False, "Keep the encoder's batch-norm statistics as the pretrained weights have them: for few images."
    )
    encoder_lr_factor: Annotated[float, Field(gt=0, le=1)] = field(
        1.0, "The encoder's learning rate, as a share of the head's."
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = field(
        1.0,
        "Classification: the learning rate of each layer, as a share of the one after it, such as 0.75; the head has "
        "all of `learning_rate`.",
    )
    optimizer: Annotated[Literal["adamw", "adam", "sgd", "nag", "rmsprop", "adagrad"], SPELT] = field(
        "adamw", "The optimiser. `nag` is SGD with Nesterov's momentum."
    )
    learning_rate: PositiveFloat = field(1e-3, "The highest learning rate of the schedule.", "lr")
    momentum: Fraction = field(0.9, "For `sgd`, `nag` and `rmsprop`.")
    beta_1: Fraction = field(0.9, "For `adam` and `adamw`: the decay of the gradients' mean.")
    beta_2: Fraction = field(0.999, "For `adam` and `adamw`: the decay of the gradients' squares.")
    epsilon: PositiveFloat = field(
        1e-8, "For `adam`, `adamw`, `rmsprop` and `adagrad`: keeps a division from zero.", "eps"
    )
    rmsprop_alpha: Fraction = field(0.9, "For `rmsprop`: the decay of the gradients' squares.", "gamma", "gamma1")
    weight_decay: NonNegativeFloat = field(1e-4, "Not applied to biases and normalisation layers.")
    lr_scheduler: Annotated[Literal["cosine", "poly", "step", "one_cycle", "constant"], SPELT] = field(
        "cosine", "How the learning rate falls, step by step. By default `step` if `lr_scheduler_step` is given."
    )
    lr_scheduler_step: Epochs = field((10, 20), "For `step`: the epochs after which the learning rate falls.")
    lr_scheduler_factor: Share = field(0.1, "For `step`: the factor by which it falls.")
    warmup_epochs: NonNegativeFloat = field(0.0, "Epochs of linear warm-up, also fractions.")
    precision: PrecisionName = field(
        "auto",
        "`auto`: bfloat16 on GPUs since Ampere, float16 with scaling on older GPUs; on a CPU float32, unless a few "
        "steps in bfloat16 are measured to be 10 % faster.",
        "precision_dtype",
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = field(
        0.0,
        "Also average the weights over the steps, with this decay (0.99, 0.999), and keep the better of both; once the "
        "average is better, it alone is measured. 0: do not.",
    )
    soup: Annotated[int, Field(ge=2, le=10_000)] | None = field(
        None,
        "Also average the weights of so many of the best epochs, such as 3, and keep the average if it is better than "
        "the best epoch.",
    )
    linear_probe: bool = field(
        False,
        "Classification with pretrained weights: start the head from a linear classifier on the network's features; "
        "its metrics are the floor, and a model below it is not kept.",
    )
    clip_grad_norm: NonNegativeFloat = field(0.0, "The maximum norm of the gradient; 0: no limit.")
    accumulate_steps: Count = field(
        1, "Batches per optimiser step: their gradients add up as in a larger batch, but use the memory of one."
    )
    auto_batch_size: bool = field(
        False, "Find the largest `batch_size` that fits into the GPU's memory. No effect on a CPU."
    )
    compile: bool = field(
        False,
        "Compile the network with torch.compile. It takes minutes at the start, and a C compiler: an image built with "
        "`COMPILER=1`.",
    )
    scale_learning_rate: bool = field(
        False, "Multiply `learning_rate` by the number of processes and `accumulate_steps` (Goyal et al., 2017)."
    )

    # The run
    objective: FigureName = field(
        "auto",
        "The validation metric that selects the best epoch. `auto`: `dice` for two classes of pixels, `miou` for more, "
        "and with `recipe=auto` if most validation images show no object; `accuracy` for classification, `map` for "
        "multi-label classification.",
        "objective_metric",
    )
    top_k: Annotated[int, Field(ge=2, le=10_000)] | None = field(
        None, "Also report how often the target is among the k most probable classes."
    )
    early_stopping: bool = field(False, "Stop when the objective no longer improves.")
    early_stopping_patience: Count = field(5, "Epochs without improvement before training stops.")
    early_stopping_min_epochs: CountOrZero = field(5, "Minimum number of epochs before training stops.")
    early_stopping_tolerance: NonNegativeFloat = field(
        0.0, "The minimum change of the objective that counts as improvement."
    )
    checkpoint_minutes: NonNegativeFloat = field(
        10.0, "Write a checkpoint after this number of minutes, also within an epoch; 0: not by time."
    )
    checkpoint_epochs: Count = field(1, "Write a checkpoint after this number of epochs.", "checkpoint_frequency")
    checkpoint_keep: CountOrZero = field(
        2, "The number of checkpoints to keep, in addition to the best model; 0: write none and resume from none."
    )
    resume: Annotated[Literal["auto", "never", "weights"], SPELT] = field(
        "auto",
        "`auto`: continue from the job's newest checkpoint; `never`: start from the beginning; "
        "`weights`: start from the weights of another job's checkpoint at epoch 1.",
    )
    allow_cpu_fallback: bool = field(
        False, "Train on the CPU if the GPU cannot be used (an old driver, a broken GPU), instead of ending the job."
    )
    cache: Annotated[Literal["auto", "off", "memory", "disk"], SPELT] = field(
        "auto",
        "Where decoded, resized images are kept from the first epoch on. `auto`: on disk, up to half of the free "
        "memory, which then holds their pages; `disk`: up to half of the free disk; `memory`: in /dev/shm.",
    )
    cache_gb: PositiveFloat | None = field(None, "The maximum size of the cache in GB, instead of those halves.")
    openvino: bool = field(
        True, "Also export the OpenVINO model, for endpoints on CPUs: this takes some seconds at the end."
    )
    int8: bool | Annotated[Literal["auto"], SPELT] = field(
        "auto",
        "Also write the OpenVINO model in INT8, if its validation metrics are those of float32: the objective may fall "
        "by `int8_tolerance`, a class's IoU or F1 by 0.02. `auto`: if there are enough validation images, and in up to "
        "a tenth of the job's time; `true`: in any case, and fail before training if the model cannot be quantised.",
    )
    int8_tolerance: Fraction = field(0.005, "How much the objective may fall in INT8.")
    num_workers: Workers | None = field(
        None, "Processes that read images. By default chosen from cores and shared memory.", "workers"
    )
    health_action: HealthAction = field(
        "warn",
        "What happens if a health rule fires: `none`, `warn`, `stop`; for single rules as `warn, ExplodingTensor=stop, "
        "Overfit=none` or a JSON object. docs/health.md lists the rules.",
    )
    health_thresholds: HealthThresholds = field(
        "", "The thresholds at which rules fire, as `DeadRelu.share=0.6, Plateau.epochs=8` or a JSON object."
    )
    seed: Seed = field(42, "The seed of all random numbers.")

    # The reports
    report: bool = field(
        True, "Also write report.html, and update it after each epoch if that takes less than 2 % of the time."
    )
    tensorboard: bool = field(
        True, "Write curves for TensorBoard to /opt/ml/output/tensorboard (TensorBoardOutputConfig takes them to S3)."
    )
    tensorboard_histograms: bool = field(
        False, "Also write a histogram of each layer's weights after each epoch: takes seconds for a large network."
    )
    profile_steps: Steps | None = field(
        None,
        "The steps that the profiler traces to output/data/profile, as `10:20`: counted from 1 over the whole job, at "
        "most 100.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Hyperparameters:
        if problems := list(conflicts(self)):
            raise PydanticCustomError("together", "{problems}", {"problems": "\n".join(problems)})
        return self


# Hyperparameters that exclude each other, or that a task does not have: all are named in one message.


def conflicts(given: Hyperparameters) -> Iterator[str]:
    """What is wrong with the hyperparameters together, and how to fix it, each in a line."""
    if given.task == "segmentation" and given.resize == "short_side":
        yield "resize: short_side crops images, so parts of a mask would be missing; use stretch or letterbox"
    if given.int8 is True and not given.openvino:
        yield "int8: the INT8 model is made of the OpenVINO model; set openvino=true, or int8=auto"
    if given.freeze_epochs >= given.epochs and given.freeze_epochs and not given.steps:
        yield (
            "freeze_epochs must be less than epochs, or the encoder never learns; with freeze_epochs=0 and a small "
            "encoder_lr_factor it learns slowly from the start"
        )
    if (given.mixup or given.cutmix) and given.batch_size == 1:
        yield "mixup and cutmix mix the images of a batch; set batch_size=2 or more, or leave both out"
    if given.layer_decay != 1 and given.encoder_lr_factor != 1:
        yield "layer_decay and encoder_lr_factor both slow the encoder; leave one of them out"
    if given.task != "auto":
        yield from conflicts_with(given.task, given)


def conflicts_with(task: Task, given: Hyperparameters) -> Iterator[str]:
    """What the task does not have, each in a line."""
    if task == "segmentation" and (given.mixup or given.cutmix):
        yield (
            "mixup and cutmix mix the labels of whole images: they are for classification; for masks take "
            "augmentation=strong and random_scale"
        )
    if task == "segmentation" and (given.random_resized_crop or given.train_image_size):
        yield (
            "random_resized_crop and train_image_size are for classification; for masks take crop_size and random_scale"
        )
    if task == "segmentation" and given.layer_decay != 1:
        yield "layer_decay is for classification; for masks take encoder_lr_factor"
    if task == "classification" and (given.mask_threshold != 0.5 or given.min_area):
        yield "mask_threshold and min_area are for masks of two classes; leave them out"
