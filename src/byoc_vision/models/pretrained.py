"""Loads pretrained weights: from the job's `pretrained` channel, else from the Docker image, else from the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from byoc_vision import artifact
from byoc_vision.errors import DataError, InputError, ResourceError, list_problems
from byoc_vision.models.build import build_model
from byoc_vision.models.hub import hub_weights
from byoc_vision.models.hub_download import NotOnHubError
from byoc_vision.models.names import TIMM_ENCODER, canonical_spec, classifier_name, encoder_name
from byoc_vision.models.normalisation import Normalisation, check_architecture, normalisation_of
from byoc_vision.models.weights import Triple, Weights, fit, load, read_weights
from byoc_vision.preprocess import Band
from byoc_vision.types import ModelSpec

_COMMON_CLASSIFIERS = ("resnet18", "resnet34", "resnet50", "resnet101", "mobilenetv2_100", "efficientnet_b0")
_COMMON_ENCODERS = ("mobilenet_v2",)
ARCHIVES = (".tar.gz", ".tgz", ".tar")
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")
_CONVERT = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    'save_file({k: v.contiguous() for k, v in torch.load(sys.argv[1], weights_only=True).items()}, sys.argv[2])" '
    "IN.pth OUT.safetensors"
)


@dataclass(frozen=True)
class PretrainedInfo:
    """The source of the loaded weights, and the normalisation they expect, in units of 0–1 RGB.

    whole: whether the head has the weights of an earlier model of the same classes, too.
    bands: of an earlier model of images with bands, the range of each and its mean and std.
    """

    source: str
    mean: Triple
    std: Triple
    whole: bool = False
    bands: tuple[Band, ...] = ()


def load_pretrained(
    network: nn.Module,
    spec: ModelSpec,
    *,
    channel: Path | None,
    baked: Path | None,
    allow_hub: bool,
    normalisation: Normalisation | None = None,
    pickles: bool = True,
) -> PretrainedInfo:
    """Load pretrained weights into the network's backbone, and into its other tensors that match.

    Args:
        network: The network of `spec`.
        spec: The model.
        channel: The folder of the `pretrained` channel. It holds a .safetensors file of timm, torchvision or
            segmentation-models-pytorch, or a model that this image trained, as a folder or a tarball.
        baked: The folder of weights in the Docker image: `NAME.safetensors`, by canonical encoder or model name.
        allow_hub: Whether to download weights if neither the channel nor the image has them.
        normalisation: The mean and std, if the job states them.
        pickles: Whether a download may be a pickle: torchvision publishes nothing else.

    Raises:
        InputError: The channel has no weights, or pickles, or weights of which it is not clear what they expect.
        DataError: The weights are damaged or do not fit the network.
        ResourceError: No weights are available; the text lists the remedies.
    """
    spec = canonical_spec(spec)
    weights, origin = _find(network, spec, channel, baked, allow_hub, pickles)
    found = fit(network, weights)
    if not found.is_complete:
        problem = f"{found.describe()}{_guess_model(weights)}"
        raise DataError(f"{origin} {weights.source} does not fit {model_name(spec)}: {problem}")
    check_architecture(weights, spec, is_stated=normalisation is not None)
    mean, std = normalisation or normalisation_of(weights, spec, network)
    load(network, found)
    return PretrainedInfo(f"{origin} {weights.source}", mean, std)


def model_name(spec: ModelSpec) -> str:
    """The name of the pretrained weights: the encoder's if there is one, else the architecture's."""
    return spec.encoder or spec.architecture


def baked_names(spec: ModelSpec) -> list[str]:
    """The names that the weights of a canonical spec may have in the Docker image, best first.

    `NAME.encoder` is segmentation-models-pytorch's network if timm has another one of the same name.
    """
    name = model_name(spec).removeprefix(TIMM_ENCODER)
    names = [name, name.partition(".")[0]]
    if spec.encoder == name:
        names.insert(0, f"{name}.encoder")
    if spec.architecture.startswith("fcn_"):
        names.append(spec.architecture.removeprefix("fcn_"))
    return list(dict.fromkeys(names))


def _find(
    network: nn.Module, spec: ModelSpec, channel: Path | None, baked: Path | None, allow_hub: bool, pickles: bool
) -> tuple[Weights, str]:
    if channel is not None:
        return _from_channel(network, spec, channel), "pretrained channel:"
    if (path := _baked_file(spec, baked)) is not None:
        return read_weights(path), "baked in the image:"
    if not allow_hub:
        raise _nothing_found(spec, "there is no `pretrained` channel and the image has none")
    try:
        return hub_weights(spec, pickles=pickles), "hub:"
    except NotOnHubError as reason:
        raise _nothing_found(spec, str(reason)) from reason


def _baked_file(spec: ModelSpec, folder: Path | None) -> Path | None:
    paths = [folder / f"{name}.safetensors" for name in baked_names(spec)] if folder is not None else []
    return next((path for path in paths if path.is_file()), None)


def _from_channel(network: nn.Module, spec: ModelSpec, folder: Path) -> Weights:
    offered = list(_weights_in(folder))
    if not offered:
        raise _no_weights_in(folder)
    fits = [(weights, fit(network, weights)) for weights in offered]
    matching = [weights for weights, found in fits if found.is_complete]
    if len(matching) > 1:
        names = ", ".join(weights.source for weights in matching)
        raise InputError(f"The pretrained channel holds several files that fit {model_name(spec)} ({names}); keep one")
    if not matching:
        problems = [f"{weights.source}: {found.describe()}{_guess_model(weights)}" for weights, found in fits]
        raise DataError(list_problems(f"The pretrained channel holds nothing that fits {model_name(spec)}:", problems))
    return matching[0]


def _guess_model(weights: Weights) -> str:
    """`; it looks like …` if the weights fit the model in the file's name or a common model; else an empty string."""
    for spec in _candidates(weights.source):
        with torch.device("meta" if spec.task == "classification" else "cpu"):
            network = build_model(spec)
        if fit(network, weights).is_complete:
            what = f"encoder={spec.encoder}" if spec.encoder else f"model={spec.architecture}"
            return f"; it looks like the weights of {what}"
    return ""


def _candidates(source: str) -> Iterator[ModelSpec]:
    """The models that the file's name can mean, then the most common models."""
    stem = source.removesuffix(".safetensors")
    named = dict.fromkeys([stem, stem.partition(".")[0]])
    classifiers = [classifier_name(name) for name in named]
    encoders = [encoder_name(name) for name in named]
    for name in dict.fromkeys([*classifiers, *_COMMON_CLASSIFIERS]):
        if name is not None:
            yield ModelSpec(task="classification", architecture=name, outputs=1)
    for name in dict.fromkeys([*encoders, *_COMMON_ENCODERS]):
        if name is not None and not name.startswith(TIMM_ENCODER):
            yield ModelSpec(task="segmentation", architecture="unet", encoder=name, outputs=1)


def _weights_in(folder: Path) -> Iterator[Weights]:
    """Every model that this image trained and every safetensors file below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    models = {path.parent for path in files if path.name == artifact.CONFIG_FILE}
    for path in files:
        if path.name == artifact.CONFIG_FILE:
            yield _trained_model(path.parent, folder)
        elif path.name.endswith(ARCHIVES):
            yield _trained_model(path, folder)
        elif path.suffix == ".safetensors" and path.parent not in models:
            yield read_weights(path)


def _trained_model(source: Path, folder: Path) -> Weights:
    config, tensors = artifact.load(source)
    name = str(source.relative_to(folder)) if source != folder else artifact.WEIGHTS_FILE
    of = model_name(config.model)
    rule = config.preprocess
    return Weights(f"{name}, a model of {of}", tensors, rule.mean, rule.std, of.removeprefix(TIMM_ENCODER))


def _no_weights_in(folder: Path) -> InputError:
    names = sorted(path.name for path in folder.rglob("*") if path.is_file())
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles:
        return InputError(
            f"The pretrained channel holds {', '.join(pickles[:3])}: loading a pickle runs code of its author, so only "
            f".safetensors is read. If you trust the author, convert it: {_CONVERT}"
        )
    held = ", ".join(names[:5]) or "nothing"
    return InputError(
        f"The pretrained channel holds no weights (it holds: {held}); put one .safetensors file there, or the "
        "model.tar.gz of an earlier job"
    )


def _nothing_found(spec: ModelSpec, reason: str) -> ResourceError:
    name = model_name(spec)
    if spec.task == "segmentation" and spec.encoder is None and not spec.architecture.startswith("fcn_"):
        return ResourceError(
            f"No library publishes pretrained weights of the classic U-Net ({name}). Add a `pretrained` channel with "
            "an earlier model of this image, or set an encoder (encoder=mobilenet_v2), or set pretrained=false"
        )
    return ResourceError(
        f"No pretrained weights of {name} are available ({reason}). Three remedies: add a `pretrained` channel with "
        f'their .safetensors file; build the image with them: docker build --build-arg PRETRAINED="{name}"; or run '
        "the job where it can reach the model hub: not in network isolation, and in a VPC with a NAT gateway. "
        "pretrained=false trains without them"
    )
