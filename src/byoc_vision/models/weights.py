"""Reads pretrained weights and matches them with a network whose tensor names differ a little.

The content of a file counts, not its name: it must hold every tensor of the network's backbone, by name and shape,
and no further backbone tensors, because a ResNet-34 holds all tensors of a ResNet-18.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from byoc_vision.errors import DataError
from byoc_vision.models.build import LogitsOnly
from byoc_vision.models.classifier import CustomHead, classifier_keys, create_timm
from byoc_vision.models.unet import UNet

Triple = tuple[float, ...]  # red, green and blue; of a model of images with bands, each band

_RGB = 3  # channels
# DenseNet's layers used to be named `norm.1`; old files are still in use.
_OLD_DENSENET = re.compile(r"\.(norm|relu|conv)\.(\d)\.")


@dataclass(frozen=True)
class Weights:
    """Tensors by name, their source, and the normalisation they were trained with (None if unknown).

    made_for: the name of their network, perhaps with a tag, as the file or the config.json beside it has it.
    """

    source: str
    tensors: Mapping[str, Tensor]
    mean: Triple | None = None
    std: Triple | None = None
    made_for: str | None = None


@dataclass(frozen=True)
class Backbone:
    """The part of a network that pretrained weights must fill completely.

    names: its tensors. within: the prefix of their names. prefixes: the possible prefixes that turn a file's names into
    the network's names. whole: the timm network that contains the backbone; a file may hold its other tensors too.
    """

    names: frozenset[str]
    within: str
    prefixes: tuple[str, ...]
    whole: str | None


@dataclass(frozen=True)
class Fit:
    """How a file's tensors match a network.

    tensors: the matching ones, by the network's names. missing: the backbone's tensors that the file lacks.
    foreign: the file's tensors that belong to a larger backbone. wanted: the number of tensors of the backbone.
    """

    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    foreign: tuple[str, ...]
    wanted: int

    @property
    def is_complete(self) -> bool:
        return not self.missing and not self.foreign

    def describe(self) -> str:
        """`0 of 312 tensors of the backbone match; missing: conv1.weight, …`"""
        text = f"{self.wanted - len(self.missing)} of {self.wanted} tensors of the backbone match"
        for problem, names in {"missing": self.missing, "too many": self.foreign}.items():
            if names:
                text += f"; {problem}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        return text


def read_weights(path: Path) -> Weights:
    """Read a safetensors file; `mean` and `std` come from its metadata, written as `0.485,0.456,0.406`.

    Without them they come from the config.json that the model hub has beside its only safetensors file.

    Raises DataError if the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is not a complete safetensors file ({error}); download or write it again") from error
    mean, std = (_from_metadata(path, key, metadata.get(key)) for key in ("mean", "std"))
    made_for = metadata.get("architecture") or metadata.get("source")
    published = _hub_config(path)
    if mean is None and std is None:
        mean, std = published.mean, published.std
    return Weights(path.name, tensors, mean, std, made_for or published.name)


class _HubConfig(NamedTuple):
    """What the hub says of a file of weights."""

    name: str | None = None
    mean: Triple | None = None
    std: Triple | None = None


def _hub_config(path: Path) -> _HubConfig:
    """From the config.json of timm or segmentation-models-pytorch, if it can mean only this file."""
    beside = path.with_name("config.json")
    if not beside.is_file() or len(list(path.parent.glob("*.safetensors"))) > 1:
        return _HubConfig()
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        own = content.get("pretrained_cfg") or content
        name = content.get("architecture")
        tag = own.get("tag")
        mean, std = (triple(own[key]) if key in own else None for key in ("mean", "std"))
    except (OSError, ValueError, TypeError, AttributeError):
        return _HubConfig()  # of another program
    return _HubConfig(f"{name}.{tag}" if name and tag else name, mean, std)


def triple(values: Sequence[float]) -> Triple:
    """One number each for red, green and blue. Raises ValueError if there are more or fewer."""
    red, green, blue = values
    return red, green, blue


def backbone(network: nn.Module) -> Backbone:
    """The part that pretrained weights must fill: a classifier without its head, or a segmentation model's encoder."""
    if isinstance(network, CustomHead):
        return _backbone(network, "backbone.", prefixes=("", "backbone."), whole=_timm_network(network.backbone))
    if isinstance(network, LogitsOnly):
        return _backbone(network, "net.backbone.", prefixes=("", "net.", "net.backbone."))
    if isinstance(network, UNet):
        return _backbone(network, without=("head.",))
    if hasattr(network, "encoder"):
        # Encoders of segmentation-models-pytorch hold timm's network one or two modules deep.
        prefixes = ("", "encoder.", "encoder.model.", "encoder.model.model.")
        return _backbone(
            network, "encoder.", without=_encoder_head(network), prefixes=prefixes, whole=_timm_network(network.encoder)
        )
    return _backbone(network, without=classifier_keys(network))


def fit(network: nn.Module, weights: Weights) -> Fit:
    """Match `weights` with `network`, using the name prefix that matches best. Does not change the network.

    Beside the backbone, every other tensor with a matching name and shape is used too: a head with as many
    outputs, the decoder of an earlier model.
    """
    part = backbone(network)
    fits = [_fit(network, part, weights.tensors, prefix) for prefix in part.prefixes]
    return min(fits, key=lambda one: (len(one.missing), len(one.foreign)))


def load(network: nn.Module, found: Fit) -> None:
    """Copy the tensors into the network, cast to its types. Tensors that the file lacks keep their values."""
    network.load_state_dict({**network.state_dict(), **found.tensors})


def _fit(network: nn.Module, part: Backbone, tensors: Mapping[str, Tensor], prefix: str) -> Fit:
    offered = {_plain(prefix + name): tensor for name, tensor in tensors.items()}
    taken = {}
    for name, target in network.state_dict().items():
        tensor = offered.get(_plain(name))
        if tensor is not None and (fitting := _widened(tensor, target)) is not None:
            taken[name] = fitting
    missing = tuple(name for name in network.state_dict() if name in part.names and name not in taken)
    return Fit(taken, missing, _foreign(part, prefix, tensors, taken, network), len(part.names))


def _widened(tensor: Tensor, target: Tensor) -> Tensor | None:
    """A tensor of the target's shape; None if it has another one.

    The first layer of a network for images with bands is filled by that for red, green and blue, repeated, and scaled
    so that its sums stay as large: as timm and segmentation-models-pytorch do.
    """
    if tensor.shape == target.shape:
        return tensor
    kernels = tensor.ndim == target.ndim == 4 and tensor.shape[2:] == target.shape[2:]
    if not kernels or tensor.shape[0] != target.shape[0] or tensor.shape[1] != _RGB:
        return None
    bands = target.shape[1]
    return tensor[:, [band % _RGB for band in range(bands)]] * (_RGB / bands)


def _foreign(
    part: Backbone, prefix: str, tensors: Mapping[str, Tensor], taken: Mapping[str, Tensor], network: nn.Module
) -> tuple[str, ...]:
    """The file's tensors that the network lacks, in modules of which the network has other tensors."""
    known = {_plain(name) for name in network.state_dict()}
    used = {_plain(name) for name in taken if name in part.names}

    def module(name: str) -> str:
        return name.removeprefix(part.within).partition(".")[0]

    modules = {module(name) for name in tensors if _plain(prefix + name) in used}
    left_over = [name for name in tensors if _plain(prefix + name) not in known and module(name) in modules]
    if left_over and part.whole is not None:
        with torch.device("meta"):
            rest = create_timm(part.whole).state_dict()
        left_over = [name for name in left_over if name not in rest]
    return tuple(left_over)


def _backbone(
    network: nn.Module,
    within: str = "",
    *,
    without: tuple[str, ...] = (),
    prefixes: tuple[str, ...] = ("",),
    whole: str | None = None,
) -> Backbone:
    # Old files lack batch normalisation's step counter, which is not needed.
    names = (name for name in network.state_dict() if not name.endswith("num_batches_tracked"))
    wanted = frozenset(name for name in names if name.startswith(within) and not name.startswith(without))
    return Backbone(wanted, within, prefixes, whole)


def _encoder_head(network: nn.Module) -> tuple[str, ...]:
    """The name prefixes of the classifier that a vision transformer keeps inside DPT, where it is unused."""
    inner = getattr(network.encoder, "model", None)
    if not isinstance(inner, nn.Module) or not hasattr(inner, "get_classifier"):
        return ()
    return tuple(f"encoder.model.{name}" for name in classifier_keys(inner))


def _timm_network(part: Any) -> str | None:
    """The name of the timm network that contains a backbone or an encoder; None for other libraries' networks."""
    if hasattr(part, "pretrained_cfg"):
        return str(part.pretrained_cfg["architecture"])
    return getattr(part, "name", None)


def _plain(name: str) -> str:
    """A name without differences between libraries: timm's feature extractors write `stages_0` for `stages.0`."""
    return _OLD_DENSENET.sub(r".\1\2.", name).replace(".", "_")


def _from_metadata(path: Path, key: str, text: str | None) -> Triple | None:
    if text is None:
        return None
    try:
        return triple([float(part) for part in text.split(",")])
    except ValueError as error:
        raise DataError(f"{path}: {key}={text} in its metadata is not three numbers (0.485,0.456,0.406)") from error
