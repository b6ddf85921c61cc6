"""Chooses the precision of OpenVINO for a network: the requested one, or the fastest with the expected logits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError, InputError, error_lines
from byoc_vision.inference.reference import compare, reference_image
from byoc_vision.system.machine import has_bfloat16
from byoc_vision.system.memory import is_out_of_memory

if TYPE_CHECKING:
    import openvino

    from byoc_vision.inference.engines.base import EnginePrecision, NamedPrecision
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

logger = logging.getLogger(__name__)

Load = Callable[["NamedPrecision"], "OpenVinoEngine"]


@dataclass(frozen=True)
class Network:
    """A network that OpenVINO computes, and what is expected of it; see `reference.compare`.

    expected: PyTorch's logits. int8: the same network quantised. int8_expected: the logits that it computed when the
    job certified it: the job judged there, on images with targets, how far they may be from float32.
    """

    model: openvino.Model | Path
    config: ModelConfig
    expected: list[np.ndarray]
    int8: Path | None = None
    int8_expected: list[np.ndarray] = field(default_factory=list)


def load_engine_in(
    precision: EnginePrecision, network: Network, threads: int | None = None, streams: int = 1
) -> OpenVinoEngine:
    """The engine in the requested precision.

    precision: auto is the fastest on this machine of those with the expected logits; see `choose_fastest`. If
    bfloat16 does not compute the expected logits, float32 replaces it, with a warning.
    Raises DataError if float32, or int8 when it is requested, does not compute the expected logits; InputError if int8
    is requested and the network has no INT8 form.
    """
    from byoc_vision.inference.engines.base import NO_INT8
    from byoc_vision.inference.engines.fastest import choose_fastest

    load = partial(_load_and_compare, network, threads, streams)
    if precision == "int8":
        if network.int8 is None:
            raise InputError(NO_INT8)
        return load("int8")
    if precision == "bfloat16":
        return _unless_it_fails(load, "bfloat16") or load("float32")
    engines = [load("float32")]
    if precision == "auto":
        others: list[NamedPrecision] = ["bfloat16"] if has_bfloat16() else []
        others += ["int8"] if network.int8 is not None else []
        found = [_unless_it_fails(load, name) for name in others]
        engines += [engine for engine in found if engine is not None and engine.precision != "float32"]
    # As many images as under load; `compare` has run as many, so the kernels exist.
    return choose_fastest(engines, reference_image(network.config.preprocess).repeat(engines[0].streams, axis=0))


def _unless_it_fails(load: Load, precision: NamedPrecision) -> OpenVinoEngine | None:
    """The engine in that precision; None, with a warning that says why, if another must take its place."""
    try:
        return load(precision)
    except DataError as error:
        logger.warning("%s; OpenVINO computes in float32 instead", error)
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        reason = error_lines(error)[-1]
        logger.warning(
            "OpenVINO cannot compile the network in %s (%s); it computes in float32 instead", precision, reason
        )
    return None


def _load_and_compare(network: Network, threads: int | None, streams: int, precision: NamedPrecision) -> OpenVinoEngine:
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

    if precision == "int8":
        assert network.int8 is not None, "it was asked for"
        engine = OpenVinoEngine(network.int8, threads, streams, precision)
        compare(engine, network.config, network.int8_expected, "it did where it was certified")
    else:
        engine = OpenVinoEngine(network.model, threads, streams, precision)
        compare(engine, network.config, network.expected, "PyTorch does")
    return engine
