"""OpenVINO, on a CPU: one and a half to several times as fast as PyTorch there, and ready in a fraction of a second.

By default it computes in bfloat16 on every processor with an instruction for it, although float32 is faster on some of
them, and in float16 on ARM. So this module always names the precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from byoc_vision.system.machine import available_cores
from byoc_vision.system.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino

    from byoc_vision.inference.engines.base import NamedPrecision

# Pinned threads would wait for their own core while images are decoded on it.
_OPTIONS: dict[str, Any] = {"ENABLE_CPU_PINNING": False}
_TOGETHER = _OPTIONS | {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
_APART = _OPTIONS | {"PERFORMANCE_HINT": "THROUGHPUT"}
_PRECISIONS = {"f32": "float32", "bf16": "bfloat16"}
_HINTS = {name: hint for hint, name in _PRECISIONS.items()} | {"int8": "f32"}  # what int8 leaves is float32


class OpenVinoEngine:
    """A network as `to_openvino` made it: uint8 [N, h, w, 3] in, float32 logits out.

    All cores compute one image together, or, with several `streams`, each stream computes an image of its own.
    Together, a single image is ready soonest. With streams, cores do not wait for each other after each layer, which
    costs most when one of them decodes the next image: a third more images per second on two cores. Streams take the
    memory of the network once more.

    As many threads may be in `run` at a time as there are streams. An image that comes while another is computed gets
    a stream of its own.
    """

    device = "cpu"

    def __init__(
        self,
        model: openvino.Model | Path,
        threads: int | None = None,
        streams: int = 1,
        precision: NamedPrecision = "float32",
    ) -> None:
        """
        model: or the path of its .xml, with the .bin beside it; its weights are mapped, not read.
        threads: by default one for each core.
        streams: how many images are computed side by side; see `choose_streams`.
        precision: a processor that cannot compute bfloat16 computes in float32, and `name` says so. int8 is the
        precision of a model that is quantised.
        Raises RuntimeError if OpenVINO cannot compile the network in that precision.
        """
        core = _core()
        cores = {
            "INFERENCE_NUM_THREADS": threads or available_cores(),
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        compiled = core.compile_model(model, "CPU", _TOGETHER | cores)
        used: str = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self._precision = "int8" if precision == "int8" else _PRECISIONS.get(used, used)
        self._request = compiled.create_infer_request()
        self._running = 0
        self._lock = Lock()
        self._apart: _Apart | None = None
        if streams > 1:
            self._apart = _Apart(core.compile_model(model, "CPU", _APART | cores | {"NUM_STREAMS": streams}), streams)

    @property
    def name(self) -> str:
        return f"OpenVINO {self.precision}"

    @property
    def precision(self) -> str:
        """What it computes in."""
        return self._precision

    @property
    def streams(self) -> int:
        return 1 if self._apart is None else self._apart.streams

    def run(self, images: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        with self._entered() as alone:
            if self._apart is None:
                return _infer(self._request, images)
            if not alone:
                return self._apart.run(images)
            apart = len(images) - len(images) % self._apart.streams
            runs = [self._apart.run(images[:apart])] if apart else []
            if apart < len(images):  # all cores work on the rest: one each would leave some without any
                runs.append(_infer(self._request, images[apart:]))
            return runs[0] if len(runs) == 1 else np.concatenate(runs)

    @contextmanager
    def _entered(self) -> Iterator[bool]:
        """Counts the calls of `run`; whether this is the only one."""
        with self._lock:
            self._running += 1
            alone = self._running == 1
        try:
            yield alone
        finally:
            with self._lock:
                self._running -= 1

    def warm_up(self, images: np.ndarray) -> None:
        """Kernels are made for each number of images when it comes first."""
        most = self.streams if self.streams > 1 else len(images)
        for count in range(1, min(len(images), most) + 1):
            self.run(images[:count])


@cache
def _core() -> openvino.Core:
    """One for the life of the process.

    Its plugin for CPUs gives the thread that loads it a stack for signals, and frees that memory when the last network
    is freed, in any thread: then the next signal to the first thread would end the process.
    """
    return import_openvino().Core()


class _Apart:
    """A compiled network that computes several images at once, each in a thread of its own."""

    def __init__(self, compiled: openvino.CompiledModel, streams: int) -> None:
        self.streams = streams
        self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())
        self._threads = ThreadPoolExecutor(streams, thread_name_prefix="lane")

    def run(self, images: np.ndarray) -> np.ndarray:
        if len(images) == 1:
            return self._run_one(images)
        each = (images[index : index + 1] for index in range(len(images)))
        return np.concatenate(list(self._threads.map(self._run_one, each)))

    def _run_one(self, image: np.ndarray) -> np.ndarray:
        request = self._idle.get()
        try:
            return _infer(request, image)
        finally:
            self._idle.put(request)


def _infer(request: openvino.InferRequest, images: np.ndarray) -> np.ndarray:
    """What comes out is a copy, since the next images overwrite it.

    `request.infer(images)` does the same, and holds Python's lock for twice as long, while other threads wait for it.
    """
    images = np.require(images, requirements=("C_CONTIGUOUS", "WRITEABLE"))  # as OpenVINO asks of memory that it shares
    request.set_input_tensor(import_openvino().Tensor(images, shared_memory=True))
    request.start_async()
    request.wait()
    return np.array(request.get_output_tensor().data)


def choose_streams(threads: int) -> int:
    """How many images to compute side by side: one for each core up to four, then one for several cores.

    All cores compute the images of smaller batches together, so that they are busy too.
    """
    return min(threads, max(4, threads // 4))
