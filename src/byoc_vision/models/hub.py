"""Pretrained weights from the hubs of timm and segmentation-models-pytorch (safetensors) and of torchvision (pickles).

A model can be pinned to a commit and a checksum in PINS. segmentation-models-pytorch pins the commits of its encoders
itself. For all others the commit and the checksum are those that the hub names; a job records them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import torch
from torch import Tensor

from byoc_vision.models.hub_download import ATTEMPT_SECONDS, Downloaded, HubFile, NotOnHubError, download
from byoc_vision.models.names import TIMM_ENCODER, TORCHVISION_FCNS
from byoc_vision.models.weights import Weights, triple
from byoc_vision.types import ModelSpec

_FILE = "model.safetensors"


class Pin(NamedTuple):
    """revision: a commit. sha256: of the file with the weights."""

    revision: str
    sha256: str


# Repository → what its weights must be. Only what somebody has compared with the published file belongs here.
PINS: dict[str, Pin] = {}


def is_published(spec: ModelSpec) -> bool:
    """Whether a library publishes weights of a model, the canonical `spec`."""
    if spec.task == "classification":
        return _timm_repository(spec.architecture) is not None
    if spec.encoder is not None and spec.encoder.startswith(TIMM_ENCODER):
        return _timm_repository(spec.encoder.removeprefix(TIMM_ENCODER)) is not None
    return spec.encoder is not None or spec.architecture in TORCHVISION_FCNS


def hub_weights(spec: ModelSpec, *, pickles: bool = True) -> Weights:
    """The weights that the model's library publishes, from its cache or over the network.

    timm: the default weights if the name has no tag. Encoders of segmentation-models-pytorch: ImageNet's.
    torchvision's FCNs: COCO's.

    Args:
        spec: A canonical spec.
        pickles: Whether a file that is not safetensors may be read: torchvision has no others.

    Raises:
        NotOnHubError: The hub has no such weights, or cannot be reached.
    """
    try:
        if spec.task == "classification":
            return _timm_weights(spec.architecture)
        if spec.architecture in TORCHVISION_FCNS:
            if not pickles:
                raise NotOnHubError(f"torchvision publishes {spec.architecture} as a pickle; pretrained=true reads it")
            return _torchvision_weights(spec.architecture)
        if spec.encoder is None:
            raise NotOnHubError(f"no library publishes weights of {spec.architecture}")
        if spec.encoder.startswith(TIMM_ENCODER):
            return _timm_weights(spec.encoder.removeprefix(TIMM_ENCODER))
        return _smp_weights(spec.encoder)
    except OSError as error:  # from the network, the disk, and every error response of the hub
        raise NotOnHubError(str(error).strip().partition("\n")[0] or type(error).__name__) from error


def _timm_repository(name: str) -> str | None:
    import timm

    config = timm.get_pretrained_cfg(name)
    return (config.hf_hub_id or None) if config is not None else None


def _timm_weights(name: str) -> Weights:
    import timm

    config, repository = timm.get_pretrained_cfg(name), _timm_repository(name)
    if config is None or repository is None:
        raise NotOnHubError(f"timm has no weights of {name} as safetensors")
    taken = download(_pinned(repository, _safetensors_name(config.hf_hub_filename)))
    # timm knows how to map each publisher's tensor names, so it loads them into a network of its own first.
    overlay = {"file": str(taken.path), "custom_load": False}
    network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    return Weights(_source(repository, taken), network.state_dict(), triple(config.mean), triple(config.std))


def _safetensors_name(name: str | None) -> str:
    """Publishers have the same weights as safetensors beside their pickle. Source: `_get_safe_alternatives` in timm."""
    if not name or name == "pytorch_model.bin":
        return _FILE
    return f"{Path(name).stem.replace('_pytorch', '')}.safetensors"


def _smp_weights(encoder: str) -> Weights:
    from safetensors.torch import load_file
    from segmentation_models_pytorch.encoders import encoders

    offered: Mapping[str, Mapping[str, str]] = encoders[encoder]["pretrained_settings"]
    settings = offered.get("imagenet") or next(iter(offered.values()))
    repository, revision = settings["repo_id"], settings["revision"]
    taken = download(_pinned(repository, _FILE, revision))
    about = download(HubFile(repository, "config.json", revision))
    config = json.loads(about.path.read_text(encoding="utf-8"))
    return Weights(_source(repository, taken), load_file(taken.path), triple(config["mean"]), triple(config["std"]))


def _pinned(repository: str, name: str, revision: str | None = None) -> HubFile:
    pin = PINS.get(repository)
    return HubFile(repository, name, pin.revision, pin.sha256) if pin else HubFile(repository, name, revision)


def _source(repository: str, taken: Downloaded) -> str:
    return f"{repository}, commit {taken.commit}, SHA-256 {taken.sha256}"


def _torchvision_weights(architecture: str) -> Weights:
    from torchvision.models import get_model_weights

    weights = get_model_weights(architecture).DEFAULT
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name).exists():
        _check_reachable(weights.url)
    tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    rule: Any = weights.transforms()
    return Weights(weights.url, tensors, triple(rule.mean), triple(rule.std))


def _check_reachable(url: str) -> None:
    """torchvision waits without a limit. Raises OSError."""
    urlopen(url, timeout=ATTEMPT_SECONDS).close()
