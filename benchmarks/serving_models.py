"""The models and images of the serving benchmarks.

The weights are random except for the last layer, which is trained on the drawn images, so that predictions can be right
or wrong: each image of a classifier has its own class, and masks show the drawn shapes.

The INT8 form is made as a training job makes it, calibrated on other images than those of the requests. It must predict
the same classes, or masks of which few pixels differ.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from common import CARVANA, PET, encode
from torch import Tensor, nn

from byoc_vision import artifact
from byoc_vision.artifact import OPENVINO_FOLDER, ModelConfig
from byoc_vision.data.decoding import read_image
from byoc_vision.inference import openvino_model
from byoc_vision.inference.engines.base import EnginePrecision
from byoc_vision.inference.predictor import Predictor, Segmentation
from byoc_vision.models.build import build_model
from byoc_vision.models.normalized import Normalized
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.quiet_openvino import import_openvino
from byoc_vision.training.quantization import quantize
from byoc_vision.types import ClassInfo, ModelSpec, Task

SCRIPT_FOLDER = Path(__file__).parent / "serving_peers/script"
IMAGES = 10
MASKS_FITTED = 4  # the last layer of a U-Net has few weights, and every pixel is an example
FIT_STEPS = 40
CALIBRATION_IMAGES = 20
MOST_DIFFERING = {"classification": 0.0, "segmentation": 0.03}  # of classes, or of pixels, in INT8


@dataclass(frozen=True)
class ServedAs:
    """A model's names, its input's side in pixels, and the images of the requests.

    script: our server runs the peers' functions as a script of the user's own, instead of our artifact.
    """

    task: Task
    architecture: str
    encoder: str | None
    size: int
    image: tuple[int, int]
    script: bool = False


MODELS = {
    "resnet18": ServedAs("classification", "resnet18", None, 224, PET),
    "resnet18_script": ServedAs("classification", "resnet18", None, 224, PET, script=True),
    "unet": ServedAs("segmentation", "unet", "resnet18", 256, CARVANA),
    "unet_512": ServedAs("segmentation", "unet", "resnet18", 512, CARVANA),
    "unet_mobilenet_v2": ServedAs("segmentation", "unet", "mobilenet_v2", 256, CARVANA),
    "tiny": ServedAs("classification", "resnet10t", None, 32, (64, 64)),
}


@dataclass(frozen=True)
class Served:
    """A model's files. root: for our server; its folder `model` is the artifact or a script. usual: for the peers.

    environment: of our server. differing: the share of the classes, or of the pixels, that differ in INT8.
    """

    root: Path
    usual: Path
    images: tuple[Path, ...]
    task: Task
    environment: dict[str, str] = field(default_factory=dict)
    differing: float | None = None


def make(name: str, folder: Path) -> Served:
    """Write the artifact, the same weights for the peers, and the images below `folder`."""
    what = MODELS[name]
    drawn = [encode(what.image, seed) for seed in range(IMAGES)]
    images = tuple(_write(folder / f"pictures/{index}.jpg", jpeg) for index, (jpeg, _) in enumerate(drawn))
    outputs = IMAGES if what.task == "classification" else 1
    spec = ModelSpec(task=what.task, architecture=what.architecture, encoder=what.encoder, outputs=outputs)
    config = _config(spec, what.size)
    torch.manual_seed(0)
    network = build_model(spec)
    _fit(network, config, drawn)
    artifact.save(folder / "root/model", config, network.state_dict())
    openvino_model.write(folder / "root/model", config, network)  # as a job leaves it, for CPUs
    differing = None if what.script else _add_int8(folder / "root/model", config, what.image, drawn)
    usual = folder / "usual"
    usual.mkdir()
    torch.save(network.state_dict(), usual / "weights.pt")
    description = {
        "task": what.task,
        "architecture": what.architecture,
        "encoder": what.encoder,
        "size": what.size,
        "classes": list(config.class_names),
    }
    (usual / "model.json").write_text(json.dumps(description))
    if what.script:
        shutil.copytree(SCRIPT_FOLDER, folder / "script/model/code")
        environment = {"MODEL": str(usual), "PYTHONPATH": os.pathsep.join([*sys.path, str(SCRIPT_FOLDER.parent)])}
        return Served(folder / "script", usual, images, what.task, environment)
    return Served(folder / "root", usual, images, what.task, differing=differing)


def _add_int8(folder: Path, config: ModelConfig, size: tuple[int, int], drawn: list[tuple[bytes, bytes]]) -> float:
    """Add the INT8 form to the artifact; the share of the predictions that differ."""
    others = [encode(size, seed)[0] for seed in range(IMAGES, IMAGES + CALIBRATION_IMAGES)]
    calibration = [np.ascontiguousarray(config.preprocess.image(read_image(jpeg))) for jpeg in others]
    network = import_openvino().Core().read_model(folder / OPENVINO_FOLDER / openvino_model.MODEL_FILE)
    openvino_model.add_int8(folder, config, quantize(network, calibration))
    images = [read_image(jpeg) for jpeg, _ in drawn]
    float32, int8 = (_predictions(folder, precision, images) for precision in ("float32", "int8"))
    differing = float(np.mean([np.mean(one != other) for one, other in zip(float32, int8, strict=True)]))
    if differing > MOST_DIFFERING[config.task]:
        sys.exit(f"in INT8 {differing:.2%} of the predictions differ; there is nothing to compare")
    return differing


def _predictions(folder: Path, precision: EnginePrecision, images: list[np.ndarray]) -> list[np.ndarray]:
    """The class of each pixel of each image, or of each image."""
    found = Predictor.load(folder, "cpu", precision=precision).predict(images)
    return [one.labels if isinstance(one, Segmentation) else np.array([one.probabilities.argmax()]) for one in found]


def _config(spec: ModelSpec, size: int) -> ModelConfig:
    if spec.task == "segmentation":
        classes = (ClassInfo(name="background", value=0), ClassInfo(name="object", value=255))
        return ModelConfig(
            model=spec, classes=classes, activation="sigmoid", preprocess=Preprocess(height=size, width=size)
        )
    classes = tuple(ClassInfo(name=f"class_{index}") for index in range(spec.outputs))
    rule = Preprocess(height=size, width=size, resize="short_side", short_side=size * 256 // 224)
    return ModelConfig(model=spec, classes=classes, activation="softmax", preprocess=rule)


def _fit(network: nn.Module, config: ModelConfig, drawn: list[tuple[bytes, bytes]]) -> None:
    """Set batch normalisation's statistics and the last layer, so that the network's predictions fit the images."""
    pixels = torch.stack([_pixels(jpeg, config.preprocess) for jpeg, _ in drawn])
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)][-1]
    seen: list[Tensor] = []
    whole = Normalized(network, config.preprocess.mean, config.preprocess.std)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the average over all batches
    with torch.no_grad():
        whole.train()(pixels)
        hook = last.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        whole.eval()(pixels)
        hook.remove()
    if config.task == "classification":
        _fit_classes(last, seen[0])
    else:
        masks = [_mask(png, config.preprocess) for _, png in drawn[:MASKS_FITTED]]
        _fit_masks(last, seen[0][:MASKS_FITTED], torch.stack(masks))


def _fit_classes(last: nn.Module, features: Tensor) -> None:
    """Each image is the prototype of its own class."""
    assert isinstance(last, nn.Linear)
    directions = F.normalize(features - features.mean(dim=0))
    with torch.no_grad():
        last.weight.copy_(directions * 5 / (features - features.mean(dim=0)).norm(dim=1).mean())
        last.bias.copy_(-(last.weight @ features.mean(dim=0)))


def _fit_masks(last: nn.Module, features: Tensor, masks: Tensor) -> None:
    optimizer = torch.optim.Adam(last.parameters(), lr=0.1)
    for _ in range(FIT_STEPS):
        loss = F.binary_cross_entropy_with_logits(last(features)[:, 0], masks)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _pixels(jpeg: bytes, rule: Preprocess) -> Tensor:
    """An image in the form of the model's input, uint8 [3, h, w]."""
    rgb = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return torch.from_numpy(np.ascontiguousarray(rule.image(rgb))).permute(2, 0, 1)


def _mask(png: bytes, rule: Preprocess) -> Tensor:
    """A mask in the model's size, float32 [h, w] of 0 and 1."""
    mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    return torch.from_numpy(rule.mask(mask)) / 255


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
