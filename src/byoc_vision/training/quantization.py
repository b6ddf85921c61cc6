"""Post-training quantisation to INT8 with NNCF: weights and activations in 8 bits, calibrated on images.

NNCF is imported in training alone; what it makes is an ordinary OpenVINO network.
"""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError, UserError, error_lines
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.inference.reference import reference_images
from byoc_vision.system.quiet_openvino import import_openvino
from byoc_vision.training.checkpoint import kept_random_state

if TYPE_CHECKING:
    import openvino

LEAST_IMAGES = {"classification": 100, "segmentation": 10}  # with which int8=auto tells a loss: a mask has many pixels
JOB_SHARE = 0.1  # of the job's time, which int8=auto may take
CALIBRATION_IMAGES = {"classification": 300, "segmentation": 100}  # at most; see docs/serving.md
FEW_IMAGES = 32  # which tell roughly what all images would
CALIBRATION_PASSES = 3.0  # what calibration on an image takes, in predictions of the network in float32

_LAYERS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
_NOT_COMPUTED = ("Parameter", "Constant", "Result")
_ATTENTION = "ScaledDotProductAttention"


def quantize(model: openvino.Model, images: Sequence[np.ndarray], left_out: Collection[str] = ()) -> openvino.Model:
    """A copy of the network in INT8.

    Weights use half of the range of 8 bits. Processors without VNNI add pairs of products in 16 bits, which would
    overflow otherwise: so the result is the same, to the last bit, on all x86 processors, and what is measured on one
    is what another serves.

    Args:
        images: to calibrate the ranges of activations on, uint8 [h, w, 3] of the model's size.
        left_out: the names of operations that stay in float32; see `sections`.
    """
    nncf = _import_nncf()
    transformer = any(op.get_type_name() == _ATTENTION for op in model.get_ops())
    with _quiet():
        quantized: openvino.Model = nncf.quantize(
            model.clone(),
            nncf.Dataset(images, _as_batch),
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(names=list(left_out)) if left_out else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )
    return quantized


def layers(model: openvino.Model) -> list[str]:
    """The names of the layers, from the image to the logits."""
    return [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() in _LAYERS]


def sections(model: openvino.Model, count: int) -> list[list[str]]:
    """The names of all operations from the image to the logits, in so many parts with about as many layers each.

    What follows a layer belongs to its part: sums and products are computed in 8 bits, too, and in networks with
    squeeze-and-excitation they hurt most.
    """
    parts: list[list[str]] = [[] for _ in range(count)]
    seen, total = 0, len(layers(model))
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        seen += kind in _LAYERS
        if kind not in _NOT_COMPUTED:
            parts[max(0, seen - 1) * count // max(1, total)].append(op.get_friendly_name())
    return parts


def check_int8(hyperparameters: Hyperparameters, net: nn.Module, config: ModelConfig) -> None:
    """With int8=true: quantise a network on drawn images, before it is trained. Else nothing.

    The end of a job would be too late to fail. It takes some seconds; random numbers are as before.
    Raises InputError if the network cannot be quantised.
    """
    if hyperparameters.int8 is not True:
        return
    try:
        with kept_random_state():
            _try_to_quantize(net, config)
    except (UserError, OSError, MemoryError) as error:
        raise InputError(_CANNOT.format(config.model.architecture, error)) from error
    except Exception as error:  # of NNCF and OpenVINO, which have no class in common
        reason = error_lines(error)[-1]
        raise InputError(_CANNOT.format(config.model.architecture, reason)) from error


def _try_to_quantize(net: nn.Module, config: ModelConfig) -> None:
    # Imported here: it takes a second, which the first step of other jobs need not wait for.
    from byoc_vision.export.openvino import to_openvino
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

    images = reference_images(config.preprocess)
    OpenVinoEngine(quantize(to_openvino(net, config), list(images[:2])), precision="int8").run(images[:1])


_CANNOT = "int8=true: model={} cannot be quantised ({}); set int8=auto, or choose another model"


def _as_batch(image: np.ndarray) -> np.ndarray:
    return image[None]


def _import_nncf() -> ModuleType:
    """NNCF, which reports nothing to its makers; importing it takes some seconds."""
    import_openvino()  # it hides the package that would report
    logger_class = logging.getLoggerClass()
    # NNCF imports what compiles CUDA kernels, which warns where there is no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with _quiet():
        nncf = importlib.import_module("nncf")
    logging.setLoggerClass(logger_class)
    logging.getLogger("nncf").setLevel(logging.ERROR)  # nncf.set_log_level changes the handlers of this process, too
    return nncf


@contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's progress bars, which it prints, and its libraries' warnings."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
