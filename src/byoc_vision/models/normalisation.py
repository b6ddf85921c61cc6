"""The mean and std that pretrained weights expect, and the network they are of, if their file does not say it.

A name is not enough: timm published weights of 34 architectures with more than one mean, and the networks that it
converted from TensorFlow (`tf_…`) have the tensors of others, but another padding and epsilon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

import torch
from torch import nn

from byoc_vision.errors import InputError
from byoc_vision.models.classifier import create_timm
from byoc_vision.models.names import TIMM_ENCODER, classifier_name, squeeze
from byoc_vision.models.weights import Triple, Weights, fit, triple
from byoc_vision.preprocess import IMAGENET_MEAN, IMAGENET_STD
from byoc_vision.types import ModelSpec

Normalisation = tuple[Triple, Triple]

IMAGENET: Normalisation = (IMAGENET_MEAN, IMAGENET_STD)
INCEPTION: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_DPN: Normalisation = ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
_CLIP: Normalisation = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
NORMALISATIONS: Mapping[str, Normalisation] = {
    "imagenet": IMAGENET,
    "inception": INCEPTION,
    "clip": _CLIP,
    "dpn": _DPN,
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""The values of the hyperparameter `normalization`."""

# segmentation-models-pytorch publishes these beside its weights on the hub; all other encoders of its own have
# ImageNet's. The values are those of its file _legacy_pretrained_settings.py.
_OF_SMP = {"dpn": _DPN, "xception": INCEPTION, "inceptionv4": INCEPTION, "inceptionresnetv2": INCEPTION}
_WITH_ADVPROP = "efficientnet-b"  # published twice: `imagenet`, the library's default, and `advprop`
_HASH = re.compile(r"-([0-9a-f]{8,10})$")
_CONVERTED = "tf_"


class Published(NamedTuple):
    """Weights that a library publishes. name: `ARCHITECTURE.TAG`. file: the stem of the first file, may be empty."""

    name: str
    file: str
    normalisation: Normalisation

    def is_named_in(self, text: str) -> bool:
        """Whether a file's name has this name, that of the first file, or the first file's hash."""
        found = _HASH.search(self.file)
        if found and found[1] in text:
            return True
        names = {squeeze(self.name), squeeze(self.file), squeeze(_without_hash(self.file))}
        return squeeze(_without_hash(text)) in names - {squeeze(self.name.partition(".")[0]), ""}


def usual_normalisation(spec: ModelSpec) -> Normalisation:
    """That of the weights which the model's library loads by default, or of the tag in the name.

    spec: a canonical one.
    """
    if spec.architecture.startswith("fcn_"):
        return IMAGENET
    if spec.encoder is not None and not spec.encoder.startswith(TIMM_ENCODER):
        return _usual_of_smp(spec.encoder)
    name = classifier_name((spec.encoder or spec.architecture).removeprefix(TIMM_ENCODER))
    if name is None:
        return IMAGENET
    import timm

    config = timm.get_pretrained_cfg(name)
    return IMAGENET if config is None else (triple(config.mean), triple(config.std))


def normalisation_of(weights: Weights, spec: ModelSpec, network: nn.Module) -> Normalisation:
    """The mean and std of a file of weights that fit the network of a canonical spec.

    From the file's own words; else from the published weights that its name means; else from what all published
    weights of the network have in common.

    Raises:
        InputError: The weights may be of several kinds; the text names the settings that decide.
    """
    if weights.mean is not None and weights.std is not None:
        return weights.mean, weights.std
    name = (spec.encoder or spec.architecture).removeprefix(TIMM_ENCODER)
    known = list(_published(spec, network))
    texts = _texts(weights)
    for text in texts:
        named = {one.normalisation for one in known if one.is_named_in(text)}
        if len(named) == 1:
            return named.pop()
    is_smp = spec.encoder is not None and not spec.encoder.startswith(TIMM_ENCODER)
    is_default = is_smp and any(squeeze(_without_hash(text)) == squeeze(name) for text in texts)
    if "." in name or is_default or len({one.normalisation for one in known}) < 2:
        return usual_normalisation(spec)
    raise InputError(_several(weights, name, spec, known))


def check_architecture(weights: Weights, spec: ModelSpec, *, is_stated: bool = False) -> None:
    """Compare the network that weights are of with a canonical spec whose tensors they have.

    is_stated: the job names the weights in another way, so that a file without a name is believed.

    Raises:
        InputError: The weights are of the network's twin from TensorFlow, or the reverse, or it is not known of which.
    """
    if spec.encoder is not None and not spec.encoder.startswith(TIMM_ENCODER):
        return
    name = (spec.encoder or spec.architecture).removeprefix(TIMM_ENCODER)
    base = name.partition(".")[0]
    plain = base.removeprefix(_CONVERTED)
    twin = plain if base != plain else _CONVERTED + plain
    if classifier_name(twin) != twin or classifier_name(plain) != plain:
        return
    found = _converted(weights, plain)
    difference = "the same tensors but another padding and epsilon, so that predictions differ"
    if found is None and "." not in name and not is_stated:
        raise InputError(
            f"{weights.source} does not say whether its weights are of {base} or of {twin}, which has {difference}; "
            f"set {_setting(spec)}NAME.TAG, such as {_example(spec, base)}, or give the file the name of its weights"
        )
    if found is not None and found != (base != plain):
        raise InputError(
            f"{weights.source} has the weights of {twin}, which has {difference}; "
            f"set {_setting(spec)}{twin} instead of {base}"
        )


def _converted(weights: Weights, plain: str) -> bool | None:
    """Whether weights are of `tf_PLAIN`; None if neither the file nor its name tells."""
    for text in _texts(weights):
        squeezed = squeeze(text)
        # segmentation-models-pytorch's `timm-` files hold the converted networks.
        if f"tf{squeeze(plain)}" in squeezed or f"timm{squeeze(plain)}" in squeezed:
            return True
        if squeeze(plain) in squeezed:
            return False
        for name in (plain, _CONVERTED + plain):
            if any(one.is_named_in(text) for one in _published_by_timm(name)):
                return name != plain
    return None


def _published(spec: ModelSpec, network: nn.Module) -> Iterator[Published]:
    """The weights that fit the network, by any library."""
    if spec.architecture.startswith("fcn_"):
        return
    name = spec.encoder or spec.architecture
    if spec.encoder is None or name.startswith(TIMM_ENCODER):
        yield from _published_by_timm(name.removeprefix(TIMM_ENCODER).partition(".")[0])
        return
    usual = _usual_of_smp(name)
    yield Published(f"{name}.imagenet", "", usual)
    if name.startswith(_WITH_ADVPROP):
        yield Published(f"{name}.advprop", f"adv-{name}", INCEPTION)
    base = classifier_name(name)
    others = list(_published_by_timm(base)) if base else []
    if any(one.normalisation != usual for one in others) and base:
        with torch.device("meta"):
            tensors = create_timm(base).state_dict()
        if fit(network, Weights(base, tensors)).is_complete:
            yield from others


def _published_by_timm(base: str) -> Iterator[Published]:
    import timm

    for name in timm.list_pretrained(base):
        config = timm.get_pretrained_cfg(name)
        if config is not None and "." in name:
            file = PurePosixPath(str(config.url or "")).stem
            yield Published(name, file, (triple(config.mean), triple(config.std)))


def _usual_of_smp(encoder: str) -> Normalisation:
    return next((found for family, found in _OF_SMP.items() if encoder.startswith(family)), IMAGENET)


def _several(weights: Weights, name: str, spec: ModelSpec, known: list[Published]) -> str:
    tags: dict[float, list[str]] = {}
    for one in known:
        tags.setdefault(round(one.normalisation[0][0], 3), []).append(one.name.partition(".")[2])
    kinds = "; ".join(f"{mean:g}: {', '.join(of[:3])}{', …' if len(of) > 3 else ''}" for mean, of in tags.items())
    by_tag = "" if known[0].name.endswith(".imagenet") else f"{_setting(spec)}{_example(spec, name)}, or "
    return (
        f"{weights.source} does not say which weights of {name} it holds: they were published with different means "
        f"of red ({kinds}). Set {by_tag}normalization={_names(known)}; or give the file the name of its "
        "weights, or mean and std in its metadata"
    )


def _names(known: list[Published]) -> str:
    """`imagenet (0.485) or inception (0.5)`"""
    held = {one.normalisation for one in known}
    return " or ".join(f"{name} ({value[0][0]:.3g})" for name, value in NORMALISATIONS.items() if value in held)


def _setting(spec: ModelSpec) -> str:
    return "model=" if spec.encoder is None else f"encoder={TIMM_ENCODER}"


def _example(spec: ModelSpec, base: str) -> str:
    return next((one.name for one in _published_by_timm(base.removeprefix(TIMM_ENCODER))), base)


def _texts(weights: Weights) -> list[str]:
    """What may name the weights, best first."""
    return [_stem(text) for text in (weights.made_for, weights.source) if text]


def _without_hash(name: str) -> str:
    return _HASH.sub("", name)


def _stem(source: str) -> str:
    """`timm/resnet18.a1_in1k` and `resnet18.a1_in1k.safetensors` are `resnet18.a1_in1k`."""
    return source.rpartition("/")[2].removesuffix(".safetensors").removesuffix(".timm").removesuffix(".torchvision")
