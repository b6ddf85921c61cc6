"""Pretrained weights from the libraries' hubs, and a quick answer where there is no way to them.

The libraries try an unreachable hub again and again for most of a minute, and longer where a firewall swallows
the packets. Here one connection is tried first, with a limit.
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
    """No weights came from the hub; the text says why."""


def hub_weights(spec: ModelSpec) -> Weights:
    """The weights that the model's library offers, from its cache or over the network.

    `spec` is canonical. timm's are the default ones of a name without a tag, segmentation-models-pytorch's
    encoders' those of ImageNet, torchvision's FCN's those of COCO. Raises NotOnHubError.
    """
    try:
        if spec.task == "classification":
            return _timm_weights(spec.architecture)
        if spec.architecture in TORCHVISION_FCNS:
            return _torchvision_weights(spec.architecture)
        if spec.encoder is None:
            raise NotOnHubError(f"nobody publishes weights of {spec.architecture}")
        if spec.encoder.startswith(TIMM_ENCODER):
            return _timm_weights(spec.encoder.removeprefix(TIMM_ENCODER))
        return _smp_weights(spec.encoder)
    except OSError as error:  # of the network, the disk, and all of the hub's answers
        raise NotOnHubError(str(error).strip().partition("\n")[0] or type(error).__name__) from error


def _timm_weights(name: str) -> Weights:
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise NotOnHubError(f"timm has no weights of {name} as safetensors")
    path = _download(config.hf_hub_id, config.hf_hub_filename or _FILE)
    # timm knows how to read each publisher's names, so it fills a network of its own first.
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
    """A file of a Hugging Face repository, from the cache where it is there."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    cached = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    _connect(constants.ENDPOINT)
    # A connection that breaks shows as an error of its HTTP library, which has changed more than once.
    broken = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    try:
        return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=_CONNECT_SECONDS))
    except broken as error:
        raise NotOnHubError(f"{repository}: {error}") from error


def _connect(url: str) -> None:
    """Raises OSError where nothing answers at the address, or at the proxy that leads to it."""
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
