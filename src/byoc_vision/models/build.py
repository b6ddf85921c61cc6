"""Builds the network of a spec, with random weights.

A model library is imported only when one of its networks is built.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from byoc_vision.errors import InputError
from byoc_vision.models.classifier import build_classifier, patch_size, stretches_positions
from byoc_vision.models.names import OWN_UNETS, SMP_STRIDES, TIMM_ENCODER, TORCHVISION_FCNS, canonical_spec
from byoc_vision.models.shapes import output_shape
from byoc_vision.models.unet import UNet
from byoc_vision.types import ModelSpec

_FCN_STRIDE = 8  # its ResNet's last two stages are dilated instead of strided


class LogitsOnly(nn.Module):
    """A torchvision segmentation network that returns only its logits, not a dictionary."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] to logits [N, outputs, H, W]."""
        logits: Tensor = self.net(x)["out"]
        return logits


def build_model(spec: ModelSpec) -> nn.Module:
    """The network of a spec, with random weights.

    It takes normalised images, float [N, in_channels, H, W], and returns logits: [N, outputs, H, W] for
    segmentation, [N, outputs] for classification.

    Raises:
        InputError: A name is unknown, or the encoder does not work with the architecture.
    """
    spec = canonical_spec(spec)
    if spec.task == "classification":
        return build_classifier(spec.architecture, spec.outputs, spec.hidden_units, spec.dropout_rate, spec.in_channels)
    if spec.encoder is not None:
        return _build_smp(spec.architecture, spec.encoder, spec.outputs, spec.in_channels)
    if spec.architecture in TORCHVISION_FCNS:
        return _build_fcn(spec.architecture, spec.outputs, spec.in_channels)
    return UNet(spec.outputs, OWN_UNETS[spec.architecture], spec.in_channels)


def input_multiple(spec: ModelSpec) -> int:
    """The number of pixels of which both sides of the model's input must be a multiple."""
    spec = canonical_spec(spec)
    if spec.task == "classification":
        return patch_size(spec.architecture)
    if spec.encoder is not None:
        return SMP_STRIDES[spec.architecture]
    return _FCN_STRIDE if spec.architecture in TORCHVISION_FCNS else UNet.STRIDE


def check_input_size(network: nn.Module, spec: ModelSpec, height: int, width: int, field: str = "image_size") -> None:
    """Raises InputError, which names the field, if the network of `spec` does not accept images of this size.

    Runs the network itself on tensors that have a shape but no values: some networks accept only one size,
    some have a minimum size.
    """
    try:
        shape = output_shape(network, height, width, channels=spec.in_channels)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise _wrong_size(spec, height, width, field, _first_line(error)) from error
    if spec.task == "segmentation" and shape[2:] != (height, width):
        raise _wrong_size(spec, height, width, field, f"its output has {shape[2]}, {shape[3]}")


def check_batches_of_one(network: nn.Module, spec: ModelSpec, height: int, width: int, remedy: str) -> None:
    """Raises InputError, with the remedy, if the network cannot train on one image of this size at a time.

    Batch normalisation needs two values of each channel: where a network pools an image to one pixel, two images.
    """
    try:
        output_shape(network.train(), height, width, images=1, channels=spec.in_channels)
    except ValueError as error:
        raise InputError(
            f"{_described(spec)} needs batches of two images or more: its batch normalisation has only one value of a "
            f"channel in one image of {height} × {width}. {remedy}, enlarge image_size, or choose another model"
        ) from error


def _described(spec: ModelSpec) -> str:
    return f"model={spec.architecture}" + (f", encoder={spec.encoder}" if spec.encoder else "")


def _wrong_size(spec: ModelSpec, height: int, width: int, field: str, why: str) -> InputError:
    multiple = input_multiple(spec)
    nearest = [max(multiple, round(side / multiple) * multiple) for side in (height, width)]
    if nearest != [height, width]:
        remedy = f"sides must be multiples of {multiple}; the nearest is {nearest[0]}, {nearest[1]}"
    else:
        remedy = "use a larger size, or 224, which nearly all models accept"
    return InputError(f"{field}={height}, {width} does not fit {_described(spec)}: {remedy} ({why})")


def _build_smp(architecture: str, encoder: str, outputs: int, channels: int) -> nn.Module:
    import segmentation_models_pytorch as smp

    options: dict[str, Any] = {"encoder_name": encoder, "encoder_weights": None, "classes": outputs}
    if channels != 3:
        options["in_channels"] = channels
    if encoder.startswith(TIMM_ENCODER) and stretches_positions(encoder.removeprefix(TIMM_ENCODER)):
        options["dynamic_img_size"] = True
    try:
        network: nn.Module = smp.create_model(architecture, **options)
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"encoder={encoder} does not work with model={architecture}: {_first_line(error)}") from error
    return network


def _build_fcn(architecture: str, outputs: int, channels: int) -> nn.Module:
    from torchvision.models import segmentation

    make = getattr(segmentation, architecture)
    net: Any = make(weights=None, weights_backbone=None, num_classes=outputs, aux_loss=False)
    if channels != 3:
        first = net.backbone.conv1
        net.backbone.conv1 = nn.Conv2d(channels, first.out_channels, kernel_size=7, stride=2, padding=3, bias=False)
    return LogitsOnly(net)


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").partition("\n")[0]
