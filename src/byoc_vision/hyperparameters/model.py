"""What a job can be told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from byoc_vision.hyperparameters.fields import (
    SPELT,
    ClassWeights,
    DataLayout,
    Epochs,
    FigureName,
    Fraction,
    HealthAction,
    HealthThresholds,
    PrecisionName,
    Resize,
    Share,
    Size,
    Steps,
    TaskName,
    Units,
    field,
)


class Hyperparameters(BaseModel):
    """Each field's description is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    # The task and the data
    task: TaskName = field("auto", "What to learn. `auto` sees it from the data: class folders or images with masks.")
    data_layout: DataLayout = field("auto", "How the data are laid out. `auto` recognises it.")
    num_classes: Annotated[int, Field(ge=2, le=10_000)] | None = field(
        None, "The number of classes. Seen from the data where it is not given, checked where it is."
    )
    num_training_samples: PositiveInt | None = field(
        None, "The number of training images. Counted in any case; a warning where it differs."
    )
    ignore_index: Annotated[int, Field(ge=0, le=255)] | None = field(
        None, "The mask value that no loss and no metric counts. 255 where masks have more than two values."
    )
    trimap_border: Annotated[Literal["ignore", "class"], SPELT] = field(
        "ignore", "Whether the border in the Oxford pets' trimaps is not counted, or a class of its own."
    )
    multi_label: bool | None = field(
        None, "Whether an image may have any number of classes. Seen from the labels where it is not given."
    )
    min_class_count: PositiveInt | None = field(
        None, "Classes with fewer training images are left out. 50 for Polyvore, none elsewhere."
    )
    validation_split: Share | None = field(
        None, "The share of the training images held out where nothing validates. 0.2; 0.25 for the Oxford pets."
    )
    on_bad_sample: Annotated[Literal["fail", "skip"], SPELT] = field(
        "fail", "Whether an image or mask that cannot be used ends the job, by name, or is left out with a warning."
    )
    checked_pictures: PositiveInt | None = field(
        None,
        "How many images are decoded and checked before training; the others are read in the first epoch. As many as "
        "take about two seconds: 25 MB of JPEG a core.",
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
        "Start from pretrained weights. `auto`: where a `pretrained` channel or the image has them; "
        "`true` also asks the hub, and fails where none can be had.",
        "use_pretrained_model",
    )
    hidden_units: Units = field(
        (), "Hidden layers of the classifier's head, as `512` or `512, 128`. None: one linear layer."
    )
    dropout_rate: Fraction = field(0.0, "Dropout in the classifier's head.", "dropout")
    sync_batch_norm: bool = field(
        False, "Batch normalisation over the images of all GPUs' batches, not of each alone.", "syncbn"
    )

    # The images
    image_size: Size | None = field(
        None,
        "The model's input, as `256` or `height, width`. 256 for segmentation, 224 for classification.",
        "base_size",
    )
    resize: Resize | None = field(
        None,
        "How an image is fitted into `image_size`: `stretch`, `letterbox`, or for classification "
        "`short_side` (cut around the centre). `stretch` for segmentation, `short_side` for classification.",
    )
    short_side: PositiveInt | None = field(
        None,
        "The shorter side, in pixels, that an image is resized to before `image_size` is cut out of its middle "
        "(in training at random). As `image_size` where it is not given. Classification.",
    )
    crop_size: Size | None = field(
        None, "Segmentation trains on random parts of this size, cut out of the images at `image_size`."
    )
    augmentation: str = field(
        "light",
        "How much training images are varied: `none`, `flip`, `light`, `strong`; `crop`, `crop_color`, "
        "`crop_color_transform`; or a JSON file that albumentations saved, in the channel `augmentation`.",
        "augmentation_type",
    )

    # The optimisation
    epochs: PositiveInt = field(10, "Passes over the training images.", "num_epochs")
    batch_size: PositiveInt = field(
        16, "Images a step and process (one process a GPU).", "mini_batch_size", "train_batch_size"
    )
    validation_batch_size: PositiveInt | None = field(
        None,
        "Images a step in evaluation. As `batch_size` where it is not given.",
        "validation_mini_batch_size",
        "test_batch_size",
    )
    loss: Annotated[Literal["auto", "cross_entropy", "dice", "bce_dice", "focal"], SPELT] = field(
        "auto", "`auto`: `bce_dice` for segmentation, `cross_entropy` for classification."
    )
    label_smoothing: Fraction = field(0.0, "The share of the target that is spread over all classes.")
    class_weights: ClassWeights = field(
        "none",
        "What each class counts in the loss: `balanced` (by the inverse of its images or pixels), `effective` "
        "(by the effective number of samples), or a list with a weight a class.",
    )
    effective_number_beta: Share = field(
        0.999, "Beta of `class_weights=effective`: nearer to 1 weighs rare classes more."
    )
    sampling: Annotated[Literal["natural", "balanced", "undersample"], SPELT] = field(
        "natural",
        "Which images an epoch draws. `balanced`: of each class as many, rare ones several times; `undersample`: of "
        "each class as many as the rarest has, others in other epochs. Classification.",
    )
    freeze_epochs: NonNegativeInt = field(
        0, "For so many epochs the head alone learns; the encoder and its batch-norm statistics stay as they are."
    )
    encoder_lr_factor: Annotated[float, Field(gt=0, le=1)] = field(
        1.0, "The encoder's learning rate, as a share of the head's."
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
        "cosine", "How the learning rate falls, step by step. `step` where `lr_scheduler_step` is given."
    )
    lr_scheduler_step: Epochs = field((10, 20), "For `step`: the epochs after which the learning rate falls.")
    lr_scheduler_factor: Share = field(0.1, "For `step`: by how much it falls.")
    warmup_epochs: NonNegativeFloat = field(0.0, "Epochs, also parts of one, of linear warm-up.")
    precision: PrecisionName = field(
        "auto",
        "`auto`: bfloat16 on GPUs since Ampere and on CPUs with AMX, float16 with scaling on older GPUs, else float32.",
        "precision_dtype",
    )
    clip_grad_norm: NonNegativeFloat = field(0.0, "The largest norm of the gradient; 0 sets no limit.")
    accumulate_steps: PositiveInt = field(
        1, "Batches whose gradients make one optimiser step: as a batch so many times as large, in the memory of one."
    )
    auto_batch_size: bool = field(
        False, "Find the largest `batch_size` that fits into the GPU's memory. On a CPU `batch_size` stays."
    )
    scale_learning_rate: bool = field(
        False, "Multiply `learning_rate` by the number of processes and `accumulate_steps` (Goyal et al., 2017)."
    )

    # The run
    objective: FigureName = field(
        "auto",
        "The validation figure by which the best epoch is kept. `auto`: `dice` for one kind of object, `miou` for "
        "several, `accuracy` for images, `map` for images with many labels.",
        "objective_metric",
    )
    top_k: Annotated[int, Field(ge=2)] | None = field(
        None, "Also report how often the target is among the k likeliest classes."
    )
    early_stopping: bool = field(False, "Stop when the objective no longer improves.")
    early_stopping_patience: PositiveInt = field(5, "Epochs without improvement before the stop.")
    early_stopping_min_epochs: NonNegativeInt = field(5, "No stop before this many epochs.")
    early_stopping_tolerance: NonNegativeFloat = field(0.0, "What counts as improvement, in the metric's units.")
    checkpoint_minutes: NonNegativeFloat = field(
        10.0, "A checkpoint after so many minutes, in the middle of an epoch too; 0: not by time."
    )
    checkpoint_epochs: PositiveInt = field(1, "A checkpoint after so many epochs.", "checkpoint_frequency")
    checkpoint_keep: NonNegativeInt = field(
        2, "How many checkpoints stay, beside the best model; 0: none are written, and none is resumed."
    )
    resume: Annotated[Literal["auto", "never"], SPELT] = field(
        "auto", "`auto`: go on from the newest checkpoint in /opt/ml/checkpoints; `never`: start anew."
    )
    allow_cpu_fallback: bool = field(
        False, "Train on the CPU where there is a GPU whose driver is too old, instead of ending the job."
    )
    cache: Annotated[Literal["auto", "off", "memory", "disk"], SPELT] = field(
        "auto",
        "Where decoded, resized images are kept from the first epoch on. `auto`: on disk, as far as half of the free "
        "memory holds their pages; `disk`: up to half of the free disk; `memory`: in /dev/shm.",
    )
    cache_gb: PositiveFloat | None = field(None, "What the cache may come to, in GB, instead of those halves.")
    openvino: bool = field(
        True, "Also leave the model as OpenVINO reads it, for endpoints on CPUs: it takes some seconds at the end."
    )
    num_workers: NonNegativeInt | None = field(
        None, "Processes that read images. Chosen from cores and shared memory where it is not given.", "workers"
    )
    health_action: HealthAction = field(
        "warn",
        "What a health rule does that finds a fault: `none`, `warn`, `stop`; of single rules as `warn, "
        "ExplodingTensor=stop, Overfit=none` or a JSON object. docs/health.md lists the rules.",
    )
    health_thresholds: HealthThresholds = field(
        "", "From which figures on a rule fires, as `DeadRelu.share=0.6, Plateau.epochs=8` or a JSON object."
    )
    seed: NonNegativeInt = field(42, "The seed of everything random.")

    # What is told of the run
    report: bool = field(
        True, "Also leave report.html, made anew after each epoch where that takes less than 2 % of the time."
    )
    tensorboard: bool = field(
        True, "Write curves for TensorBoard to /opt/ml/output/tensorboard (TensorBoardOutputConfig takes them to S3)."
    )
    tensorboard_histograms: bool = field(
        False, "Also write a histogram of each layer's weights after each epoch: seconds, with a large network."
    )
    profile_steps: Steps | None = field(
        None,
        "The steps of the whole job, as `10:20`, counted from 1 and 100 at the most, of which the profiler writes a "
        "trace to output/data/profile.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Hyperparameters:
        if self.task == "segmentation" and self.resize == "short_side":
            raise PydanticCustomError(
                "resize",
                "resize: short_side cuts images, so parts of a mask would be missing; use stretch or letterbox",
            )
        if self.freeze_epochs >= self.epochs and self.freeze_epochs:
            raise PydanticCustomError(
                "freeze_epochs",
                "freeze_epochs must be less than epochs, or the encoder never learns; with freeze_epochs=0 and a "
                "small encoder_lr_factor it learns slowly from the start",
            )
        return self
