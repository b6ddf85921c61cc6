"""The names of all models, and the ways in which people write them.

Importing this module does not import a model library; a test compares the tables below with the libraries.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache

from byoc_vision.errors import InputError
from byoc_vision.types import ModelSpec, Task

OWN_UNETS: Mapping[str, int] = {"unet": 64, "unet_small": 16}
"""The names of our classic U-Net, with the number of channels of its first level."""

SMP_STRIDES: Mapping[str, int] = {
    "unet": 32,
    "unetplusplus": 32,
    "manet": 32,
    "linknet": 32,
    "fpn": 32,
    "pspnet": 8,
    "deeplabv3": 8,
    "deeplabv3plus": 16,
    "pan": 16,
    "upernet": 32,
    "segformer": 32,
    "dpt": 32,
}
"""The architectures of segmentation-models-pytorch, with the stride of their coarsest feature map in pixels."""

TORCHVISION_FCNS = ("fcn_resnet50", "fcn_resnet101")

DEFAULT_ENCODER = "resnet34"
DPT_ENCODER = "tu-vit_base_patch16_224.augreg_in21k"  # dpt needs a vision transformer; this is the library's choice
TIMM_ENCODER = "tu-"  # segmentation-models-pytorch's prefix for an encoder that timm builds

_RETIRED_TIMM_ENCODER = "timm-"

# Other names of segmentation architectures, squeezed. SageMaker's built-in algorithm uses `psp` and `deeplab`.
_SEGMENTATION_ALIASES = {
    "psp": "pspnet",
    "deeplab": "deeplabv3",
    "nestedunet": "unetplusplus",
}

# torchvision's and Keras's names of classifiers that have another name in timm, squeezed.
_CLASSIFIER_ALIASES = {
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3large": "mobilenetv3_large_100",
    "mobilenetv3small": "mobilenetv3_small_100",
    "mnasnet10": "mnasnet_100",
    "vitb16": "vit_base_patch16_224",
    "vitb32": "vit_base_patch32_224",
    "vitl16": "vit_large_patch16_224",
    "vitl32": "vit_large_patch32_224",
    "swint": "swin_tiny_patch4_window7_224",
    "swins": "swin_small_patch4_window7_224",
    "swinb": "swin_base_patch4_window7_224",
}


def task_of(architecture: str) -> Task:
    """The task of an architecture. Raises InputError if no model has this name."""
    if segmentation_name(architecture) is not None:
        return "segmentation"
    if classifier_name(architecture) is not None:
        return "classification"
    known = (*known_architectures("segmentation"), *known_architectures("classification"))
    raise _unknown("model", architecture, known)


def known_architectures(task: Task) -> tuple[str, ...]:
    """Every name that the hyperparameter `model` accepts for a task."""
    if task == "segmentation":
        return tuple(dict.fromkeys([*OWN_UNETS, *SMP_STRIDES, *TORCHVISION_FCNS]))
    return tuple(_timm_names().values())


def canonical_spec(spec: ModelSpec) -> ModelSpec:
    """The spec with the libraries' own spelling of its names, and the default encoder if it needs one.

    `resnet-50`, `ResNet50` and `resnet50` are one model; so are `mobilenet_v2` and `mobilenetv2_100`.
    timm provides the encoders that segmentation-models-pytorch lacks.

    Raises:
        InputError: A name is unknown; the text names the field and the nearest names.
    """
    if spec.task == "classification":
        return _canonical_classifier(spec)
    return _canonical_segmentation(spec)


def canonical_name(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that equals `name` except for case, hyphens, underscores and dots; None if none does."""
    return {squeeze(candidate): candidate for candidate in known}.get(squeeze(name))


def squeeze(name: str) -> str:
    """A name in lower case without separators: `ResNet-50` and `resnet_50` become `resnet50`."""
    return re.sub("[^a-z0-9]", "", name.lower().replace("+", "plus"))


def classifier_name(name: str) -> str | None:
    """timm's name of a classifier; None if timm does not have it. A pretraining tag (`resnet50.a1_in1k`) is kept."""
    base, _, tag = name.partition(".")
    squeezed = squeeze(base)
    found = _timm_names().get(squeezed) or _CLASSIFIER_ALIASES.get(squeezed)
    if found is None or not tag:
        return found
    return f"{found}.{tag}" if tag in _timm_tags(found) else None


def encoder_name(name: str) -> str | None:
    """segmentation-models-pytorch's name of an encoder; None if neither it nor timm has it.

    timm provides the encoders of the retired `timm-` names.
    """
    own = canonical_name(name, _smp_encoders())
    if own is not None:
        return own
    plain = name.lower().removeprefix(TIMM_ENCODER)
    from_timm = classifier_name(plain.removeprefix(_RETIRED_TIMM_ENCODER))
    if plain.startswith(_RETIRED_TIMM_ENCODER) and from_timm is not None:
        # The retired encoders had the weights that timm converted from TensorFlow, if there are such.
        from_timm = classifier_name(f"tf_{from_timm}") or from_timm
    return None if from_timm is None else TIMM_ENCODER + from_timm


def _canonical_classifier(spec: ModelSpec) -> ModelSpec:
    if spec.encoder is not None:
        raise InputError(f"encoder={spec.encoder} is for segmentation; model={spec.architecture} is a classifier")
    name = classifier_name(spec.architecture)
    if name is None:
        raise _not_classifier(spec.architecture)
    return spec.model_copy(update={"architecture": name})


def _canonical_segmentation(spec: ModelSpec) -> ModelSpec:
    if spec.hidden_units or spec.dropout_rate:
        field = "hidden_units" if spec.hidden_units else "dropout_rate"
        raise InputError(f"{field} configures a classifier's head; model={spec.architecture} has none; remove {field}")
    name = segmentation_name(spec.architecture, spec.encoder)
    if name is None:
        raise _not_segmentation(spec.architecture)
    classic = name in OWN_UNETS and spec.encoder is None
    encoder = None if classic else _canonical_encoder(name, spec.encoder)
    return spec.model_copy(update={"architecture": name, "encoder": encoder})


def segmentation_name(name: str, encoder: str | None = None) -> str | None:
    """The libraries' name of a segmentation architecture; None if there is none. Does not import a library."""
    if squeeze(name) == "fcn":  # as for SageMaker's built-in algorithm: algorithm=fcn, backbone=resnet-50
        return canonical_name(f"fcn_{encoder or 'resnet50'}", TORCHVISION_FCNS)
    known = known_architectures("segmentation")
    return canonical_name(name, known) or _SEGMENTATION_ALIASES.get(squeeze(name))


def _canonical_encoder(architecture: str, encoder: str | None) -> str | None:
    if architecture not in SMP_STRIDES:
        if encoder is None or squeeze(f"fcn_{encoder}") == squeeze(architecture):
            return None
        raise InputError(f"encoder={encoder}: model={architecture} does not take an encoder; remove encoder")
    if encoder is None:
        return DPT_ENCODER if architecture == "dpt" else DEFAULT_ENCODER
    name = encoder_name(encoder)
    if name is None:
        raise _unknown("encoder", encoder, [*_smp_encoders(), *_timm_names().values()])
    return name


def _not_segmentation(architecture: str) -> InputError:
    if name := encoder_name(architecture):
        return InputError(
            f"model={architecture} is an encoder, not a segmentation model: set model=unet, encoder={name}"
        )
    return _unknown("model", architecture, known_architectures("segmentation"))


def _not_classifier(architecture: str) -> InputError:
    if name := segmentation_name(architecture):
        return InputError(f"model={name} is a segmentation model; use a classifier, such as model=resnet18")
    base = classifier_name(architecture.partition(".")[0])
    tagged = [f"{base}.{tag}" for tag in _timm_tags(base)] if base else []
    return _unknown("model", architecture, [*known_architectures("classification"), *tagged])


def _unknown(field: str, name: str, known: Iterable[str]) -> InputError:
    by_squeezed = {squeeze(candidate): candidate for candidate in known}
    by_squeezed |= {alias: full for alias, full in _CLASSIFIER_ALIASES.items() if full in by_squeezed.values()}
    matches = difflib.get_close_matches(squeeze(name), by_squeezed, n=5, cutoff=0.5)
    nearest = dict.fromkeys(by_squeezed[match] for match in matches)
    hint = f"the nearest names are {', '.join(nearest)}" if nearest else "no known name is similar"
    return InputError(f"{field}={name} is not known; {hint}")


@cache
def _timm_names() -> dict[str, str]:
    """Every classifier of timm by its squeezed name (squeezed names are unique)."""
    import timm

    return {squeeze(name): name for name in timm.list_models()}


@cache
def _timm_tags(name: str) -> frozenset[str]:
    import timm

    return frozenset(full.partition(".")[2] for full in timm.list_pretrained(name))


@cache
def _smp_encoders() -> tuple[str, ...]:
    from segmentation_models_pytorch.encoders import get_encoder_names

    return tuple(name for name in get_encoder_names() if not name.startswith(_RETIRED_TIMM_ENCODER))
