"""Downloads pretrained weights from the libraries' hubs, and fails fast if a hub cannot be reached.

The libraries retry an unreachable hub for most of a minute, and longer if a firewall drops the packets. This module
first tries one connection, with a time limit.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import torch
from torch import Tensor

from byoc_vision.models.names import TIMM_ENCODER, TORCHVISION_FCNS
from byoc_vision.models.weights import Weights, triple
from byoc_vision.types import ModelSpec

_CONNECT_SECONDS = 5.0
_FILE = "model.safetensors"


class NotOnHubError(Exception):
    """The hub gave no weights; the text says why."""


def hub_weights(spec: ModelSpec) -> Weights:
    """The weights that the model's library publishes, from its cache or over the network.

    timm: the default weights if the name has no tag. Encoders of segmentation-models-pytorch: ImageNet's.
    torchvision's FCNs: COCO's.

    Args:
        spec: A canonical spec.

    Raises:
        NotOnHubError: The hub has no such weights, or cannot be reached.
    """
    try:
        if spec.task == "classification":
            return _timm_weights(spec.architecture)
        if spec.architecture in TORCHVISION_FCNS:
            return _torchvision_weights(spec.architecture)
        if spec.encoder is None:
            raise NotOnHubError(f"no library publishes weights of {spec.architecture}")
        if spec.encoder.startswith(TIMM_ENCODER):
            return _timm_weights(spec.encoder.removeprefix(TIMM_ENCODER))
        return _smp_weights(spec.encoder)
    except OSError as error:  # from the network, the disk, and every error response of the hub
        raise NotOnHubError(str(error).strip().partition("\n")[0] or type(error).__name__) from error


def _timm_weights(name: str) -> Weights:
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise NotOnHubError(f"timm has no weights of {name} as safetensors")
    path = _download(config.hf_hub_id, config.hf_hub_filename or _FILE)
    # timm knows how to map each publisher's tensor names, so it loads them into a network of its own first.
    network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path), "custom_load": False})
    return Weights(config.hf_hub_id, network.state_dict(), triple(config.mean), triple(config.std))


def _smp_weights(encoder: str) -> Weights:
    from safetensors.torch import load_file
    from segmentation_models_pytorch.encoders import encoders

    offered: Mapping[str, Mapping[str, str]] = encoders[encoder]["pretrained_settings"]
    settings = offered.get("imagenet") or next(iter(offered.values()))
    repository, revision = settings["repo_id"], settings["revision"]
    tensors = load_file(_download(repository, _FILE, revision))
    config = json.loads(_download(repository, "config.json", revision).read_text(encoding="utf-8"))
    return Weights(repository, tensors, triple(config["mean"]), triple(config["std"]))


def _torchvision_weights(architecture: str) -> Weights:
    from torchvision.models import get_model_weights

    weights = get_model_weights(architecture).DEFAULT
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name).exists():
        _connect(weights.url)
    tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    rule: Any = weights.transforms()
    return Weights(weights.url, tensors, triple(rule.mean), triple(rule.std))


def _download(repository: str, file: str, revision: str | None = None) -> Path:
    """A file of a Hugging Face repository, from the cache if it is there."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    cached = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    _connect(constants.ENDPOINT)
    # A broken connection raises an error of the HTTP library, which has changed more than once.
    broken = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    try:
        return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=_CONNECT_SECONDS))
    except broken as error:
        raise NotOnHubError(f"{repository}: {error}") from error


def _connect(url: str) -> None:
    """Raises OSError if neither the address nor the proxy for it accepts a connection."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(host):
        hop = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        host, port = hop.hostname or "", hop.port or 80
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise OSError(f"{parts.hostname} cannot be reached: {error}") from error
