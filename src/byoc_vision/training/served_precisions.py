"""What servers on CPUs will give, measured at the end of a job: the validation metrics of each precision, and INT8.

The OpenVINO form is evaluated as everything else is, through the predictor that serves, on the same images. INT8 is
kept only if its metrics are those of float32. This machine's processor does not matter, nor whether it has a GPU: INT8
is the same on all processors, see `quantize`, and which precision is fastest is measured by each server.

All of it is optional: an error costs a warning, never the job.
"""

from __future__ import annotations

import copy
import logging
import math
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from byoc_vision import artifact
from byoc_vision.artifact import OPENVINO_FOLDER, ModelConfig
from byoc_vision.data.loaders import EvaluationBatch
from byoc_vision.data.samples import Sample
from byoc_vision.errors import UserError
from byoc_vision.evaluation.epoch_record import Metrics
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.evaluation.scoring import ScoredPrediction
from byoc_vision.inference import openvino_model
from byoc_vision.inference.engines.fastest import shortest_times
from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine
from byoc_vision.inference.predictor import Prediction, Predictor, Prepared, Segmentation
from byoc_vision.inference.reference import reference_image
from byoc_vision.launch.distributed import Share, World
from byoc_vision.launch.signals import StopRequestedError
from byoc_vision.report.record import Served, ServedPrecision
from byoc_vision.system.machine import has_bfloat16
from byoc_vision.training.budget_plan import INT8_SECONDS
from byoc_vision.training.callbacks.run_report import add_to_record
from byoc_vision.training.deadline import Deadline, OutOfTimeError
from byoc_vision.training.quantization import (
    CALIBRATION_IMAGES,
    CALIBRATION_PASSES,
    FEW_IMAGES,
    LEAST_IMAGES,
    layers,
    quantize,
    sections,
)
from byoc_vision.training.trainer import Trainer

if TYPE_CHECKING:
    import openvino

CERTIFIED = "certified"
CLASS_TOLERANCE = 0.02  # how much a class's IoU or F1 may fall
CALIBRATION_BYTES = 2**28

_ONE_PROCESS = Share(0, 1)
_OF_ONE_CLASS = ("iou_", "f1_")
_COMPARED_IMAGES = 8
_QUARTERS = 4

logger = logging.getLogger(__name__)


def record_served(folder: Path, output: Path, trainer: Trainer) -> None:
    """Measure the form in `folder`, see `measure_served`, and put it into the record and the report in `output`."""
    served = measure_served(folder, trainer)
    if served is not None:
        add_to_record(output, page=trainer.hyperparameters.report, served=served)


def measure_served(folder: Path, trainer: Trainer) -> Served | None:
    """Measure the form in `folder` in each precision, quantise it if the job asks for it, and record both there.

    Returns None, with a line in the log, if that is not possible.
    """
    started = time.monotonic()
    try:
        served = _measure(folder, trainer)
    except (UserError, OSError, MemoryError) as error:
        logger.warning(_NONE, error or type(error).__name__)
    except StopRequestedError:
        logger.info(_NONE, "the job was asked to stop")
    except OutOfTimeError as error:
        logger.info(_NONE, error)
    except Exception as error:  # of OpenVINO and NNCF, which have no class in common
        logger.warning(_NONE, error, exc_info=True)
    else:
        logger.info("Measured the OpenVINO model as it is served (%.1f s)", time.monotonic() - started)
        return served
    return None


_NONE = "What servers on CPUs give is not measured, and the model has no INT8 form: %s"


def _measure(folder: Path, trainer: Trainer) -> Served | None:
    hyperparameters, config = trainer.hyperparameters, artifact.read_config(folder)
    objective = trainer.history.objective
    if trainer.partition.is_sharded:
        logger.info(_NONE, "each host has images of its own")
        return None
    if trainer.history.best is None:
        logger.info(_NONE, "no epoch is complete")
        return None
    model = folder / OPENVINO_FOLDER / openvino_model.MODEL_FILE
    engine = OpenVinoEngine(model, precision="float32")
    meter = Meter.of(trainer, Predictor(config, engine), Deadline.of(trainer))
    found = {"float32": meter.measure(engine)}
    if has_bfloat16():
        try:
            found["bfloat16"] = meter.measure(OpenVinoEngine(model, precision="bfloat16"))
        except RuntimeError as error:  # below a restricted instruction set it cannot be compiled
            logger.info("OpenVINO cannot compute the model in bfloat16 here: %s", str(error).strip().splitlines()[-1])
    int8 = _why_not(trainer, config, meter)
    if not int8:
        try:
            quantized, int8 = _certify(model, trainer, meter, found["float32"])
        except (OutOfTimeError, UserError) as error:
            quantized, int8 = None, str(error)
        if quantized is not None:
            found["int8"] = quantized.measured
            openvino_model.add_int8(folder, config, quantized.model)
    served = _served(found, objective, config, int8)
    openvino_model.write_precisions(folder, served.model_dump(mode="json"))
    _log(served, asked=hyperparameters.int8 is True)
    return served


def _why_not(trainer: Trainer, config: ModelConfig, meter: Meter) -> str:
    """Why the job does not quantise; empty if it does."""
    asked, images, least = trainer.hyperparameters.int8, len(meter.samples), LEAST_IMAGES[config.task]
    if asked is False:
        return "int8=false"
    if asked == "auto" and images < least:
        return f"{images} validation images are too few to tell a loss: int8=auto takes {least}, int8=true any number"
    return ""


# The metrics of a precision


@dataclass(frozen=True)
class Measured:
    """A precision on the validation images. predictions: by sample, see `_Kept`. seconds: that it took."""

    engine: OpenVinoEngine
    metrics: Metrics
    predictions: dict[int, bytes]
    seconds: float


@dataclass(frozen=True)
class Meter:
    """Evaluates engines on the validation images.

    evaluator: of any predictor. batches: of all validation images; kept, since their processes stay.
    """

    config: ModelConfig
    evaluator: Evaluator
    samples: tuple[Sample, ...]
    batches: Iterable[EvaluationBatch]
    deadline: Deadline

    @classmethod
    def of(cls, trainer: Trainer, predictor: Predictor, deadline: Deadline) -> Meter:
        ours, samples = trainer.best.evaluator, tuple(trainer.partition.dataset.validation)
        loss = copy.deepcopy(ours.loss).cpu() if ours.loss and trainer.history.objective.name == "loss" else None
        evaluator = replace(ours, world=World(), loss=loss, predictor=predictor)
        return cls(predictor.config, evaluator, samples, evaluator.batches(samples, share=_ONE_PROCESS), deadline)

    def measure(self, engine: OpenVinoEngine) -> Measured:
        """Raises OutOfTimeError, StopRequestedError and what `evaluate` raises."""
        kept = _Kept(self.config)
        evaluator = replace(self.evaluator, predictor=Predictor(self.config, engine))
        started = self.deadline.clock()
        metrics = evaluator.evaluate(self.batches, self.deadline, kept)
        return Measured(engine, metrics, kept.predictions, self.deadline.clock() - started)

    def images(self, samples: tuple[Sample, ...], most: int) -> list[np.ndarray]:
        """Up to so many of the samples' images, evenly spread, uint8 [h, w, 3]; raises as `measure`.

        A sample that cannot be read is left out or an error, as `on_bad_sample` says.
        """
        count = min(len(samples), most)
        chosen = [samples[index * len(samples) // count] for index in range(count)]
        found: list[np.ndarray] = []
        for batch in self.evaluator.batches(chosen, share=_ONE_PROCESS):
            found += list(batch.images.permute(0, 2, 3, 1).contiguous().numpy()) if len(batch.images) else []
            self.deadline()
        return found


class _Kept:
    """In place of a collector: each image's prediction, compressed."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.predictions: dict[int, bytes] = {}

    def add(self, sample_index: int, prepared: Prepared, image: ScoredPrediction) -> None:
        self.predictions[sample_index] = zlib.compress(_labels(image.prediction).tobytes(), 1)


def _labels(prediction: Prediction) -> np.ndarray:
    """What was predicted: the class of each pixel, uint8 [H, W]; the class, [1]; or which classes, bool [K]."""
    if isinstance(prediction, Segmentation):
        return prediction.labels
    if prediction.threshold is None:
        return np.array([prediction.probabilities.argmax()])
    return prediction.probabilities > prediction.threshold


def differing(one: Measured, other: Measured, config: ModelConfig) -> float:
    """The share of predictions that differ: of images, or of the pixels of masks."""
    unequal = total = 0
    for index, content in one.predictions.items():
        if config.task != "segmentation":
            unequal, total = unequal + (content != other.predictions[index]), total + 1
            continue
        ours, theirs = (np.frombuffer(zlib.decompress(each), np.uint8) for each in (content, other.predictions[index]))
        unequal, total = unequal + int((ours != theirs).sum()), total + ours.size
    return unequal / total if total else 0.0


# INT8


class Quantizer:
    """Quantises a network on images while there is time: nothing interrupts NNCF. Raises as `Deadline` does."""

    def __init__(self, network: openvino.Model, deadline: Deadline) -> None:
        self.network = network
        self._deadline = deadline
        self._expected: dict[int, float] = {}  # seconds, by the number of images

    def images_in_time(self, most: int, seconds: float, measured: int) -> int:
        """On how many images to calibrate: with a budget, on as many as fit, and FEW_IMAGES at least.

        seconds: that the evaluation of the float32 form on so many `measured` images took.
        """
        slowness = self._deadline.slowness
        if slowness is None:
            return most
        fixed, each = INT8_SECONDS * slowness, CALIBRATION_PASSES * seconds / max(1, measured)
        few = min(most, FEW_IMAGES)
        self._deadline(fixed + few * each + seconds)  # the INT8 form is evaluated, too
        fitting = (self._deadline.left - fixed - seconds) / max(each, 1e-6)
        count = int(max(few, min(most, fitting)))
        if count < most:
            logger.info("INT8 is calibrated on %d images instead of %d, as many as there is time for", count, most)
        self._expected[count] = fixed + count * each
        return count

    def __call__(self, images: list[np.ndarray], left_out: list[str]) -> openvino.Model:
        """The network in INT8, without the operations of these names."""
        expected = (seconds for count, seconds in self._expected.items() if count >= len(images))
        self._deadline(min(expected, default=0.0))
        started = self._deadline.clock()
        quantized = quantize(self.network, images, left_out)
        self._expected[len(images)] = self._deadline.clock() - started
        return quantized


@dataclass(frozen=True)
class Quantized:
    model: openvino.Model
    measured: Measured


def _certify(model: Path, trainer: Trainer, meter: Meter, float32: Measured) -> tuple[Quantized | None, str]:
    """The network in INT8 if its metrics are those of float32, perhaps without the layers that hurt most; or why not.

    Raises as `Meter.measure`.
    """
    from byoc_vision.system.quiet_openvino import import_openvino

    quantizer = Quantizer(import_openvino().Core().read_model(model), meter.deadline)
    rule, samples = meter.config.preprocess, tuple(trainer.partition.dataset.train)
    of_memory = max(FEW_IMAGES, CALIBRATION_BYTES // (rule.height * rule.width * rule.channels))
    most = min(len(samples), CALIBRATION_IMAGES[meter.config.task], of_memory)
    count = quantizer.images_in_time(most, float32.seconds, len(float32.predictions))
    images = meter.images(samples, count)
    objective, tolerance = trainer.history.objective, trainer.hyperparameters.int8_tolerance
    problem = ""
    for left_out in operations_to_leave_out(quantizer, images):
        quantized = quantizer(images, left_out)
        measured = meter.measure(OpenVinoEngine(quantized, precision="int8"))
        problem = objection(float32.metrics, measured.metrics, objective, tolerance)
        if not problem:
            return Quantized(quantized, measured), CERTIFIED
        without = len(set(left_out).intersection(layers(quantizer.network)))
        logger.info("INT8%s: %s", f" without {without} layers" if left_out else "", problem)
    return None, problem


def objection(before: Metrics, after: Metrics, objective: Objective, tolerance: float) -> str:
    """Why INT8 is not as good as float32; empty if it is."""
    sign = -1 if objective.mode == "min" else 1
    old, new = before[objective.name], after[objective.name]
    if not sign * (old - new) <= tolerance:  # also of NaN
        return f"{objective.name} is {new:.4f} instead of {old:.4f}, and int8_tolerance={tolerance:g}"
    for name, value in before.items():
        found = after.get(name, math.nan)
        if name.startswith(_OF_ONE_CLASS) and not math.isnan(value) and not value - found <= CLASS_TOLERANCE:
            return f"{name} is {found:.4f} instead of {value:.4f}, and no class may lose more than {CLASS_TOLERANCE}"
    return ""


def operations_to_leave_out(quantizer: Quantizer, images: list[np.ndarray]) -> Iterator[list[str]]:
    """What to leave in float32: first nothing, then the quarter of the network that hurts most, then two quarters.

    How much a quarter hurts is how near the logits come to those of float32 without it, on a few images.
    """
    yield []
    network = quantizer.network
    if len(layers(network)) < _QUARTERS:
        return
    shown = np.stack(images[:_COMPARED_IMAGES])
    expected = OpenVinoEngine(network, precision="float32").run(shown)
    distances: list[tuple[float, list[str]]] = []
    for quarter in sections(network, _QUARTERS):
        tried = quantizer(images[:FEW_IMAGES], quarter)
        logits = OpenVinoEngine(tried, precision="int8").run(shown)
        distances.append((float(np.mean((logits - expected) ** 2)), quarter))
    (_, first), (_, second), *_ = sorted(distances, key=lambda pair: pair[0])
    yield first
    yield first + second


# What is said of it


def _served(found: dict[str, Measured], objective: Objective, config: ModelConfig, int8: str) -> Served:
    float32, image = found["float32"], reference_image(config.preprocess)
    engines = [measured.engine for measured in found.values()]
    for engine in engines:
        engine.run(image)
    times = shortest_times(engines, image)
    return Served(
        objective=f"validation:{objective.name}",
        images=len(float32.predictions),
        precisions=[
            ServedPrecision(
                precision=name,
                validation=dict(measured.metrics),
                milliseconds=round(1000 * seconds, 2),
                differing=differing(float32, measured, config),
            )
            for (name, measured), seconds in zip(found.items(), times, strict=True)
        ],
        int8=int8,
    )


def _log(served: Served, *, asked: bool) -> None:
    name = served.objective.partition(":")[2]
    for entry in served.precisions:
        faster = served.precisions[0].milliseconds / entry.milliseconds
        compared = f" ({faster:.1f} times as fast), {entry.differing:.2%} of the predictions differ"
        logger.info(
            "OpenVINO %s: %s %.4f on %d validation images, %.1f ms per image%s",
            entry.precision,
            name,
            entry.validation[name],
            served.images,
            entry.milliseconds,
            compared if entry.precision != "float32" else "",
        )
    if served.int8 != CERTIFIED:
        (logger.warning if asked else logger.info)("The model has no INT8 form: %s", served.int8)
