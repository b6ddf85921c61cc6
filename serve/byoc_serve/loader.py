"""Loading models: onto which device, and for a single-model server in a thread, while the server responds already."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from byoc_serve.memory import LIBRARIES, bytes_needed, check_container, check_room, free_on_gpu
from byoc_serve.readiness import Readiness, State
from byoc_serve.scripts.source import PROGRAM, Script, find_script
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError, ResourceError, UserError
from byoc_vision.system.machine import GPU_VARIABLE, available_cores, gpu_names, share_of_cores, visible_gpus
from byoc_vision.system.memory import is_out_of_memory

if TYPE_CHECKING:  # importing it imports torch, which takes seconds
    from byoc_serve.batch import Observer
    from byoc_serve.service import Service
    from byoc_vision.artifact import ModelConfig
    from byoc_vision.inference.predictor import Predictor

INTERNAL_ERROR_EXIT_CODE = 1

logger = logging.getLogger(__name__)


class Loader:
    """STARTING until `source` has returned the model and it is warm, then READY; FAILED if that is impossible.

    source: called once, in the loader's thread, which then computes for the model.
    on_failure: called last if the model cannot be loaded, or its thread has ended.
    """

    def __init__(
        self,
        source: Callable[[], Service],
        readiness: Readiness,
        worker: int = 0,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._readiness = readiness
        self._worker = worker
        self._on_failure = on_failure
        self._model: Service | None = None
        self._decided = Event()
        self._stopping = False
        self._thread = Thread(target=self._run, name="model", daemon=True)
        self.failure: str | None = None
        readiness[worker] = State.STARTING

    @property
    def ready(self) -> bool:
        """Whether every worker's model is ready."""
        return self._readiness.ready

    @property
    def model(self) -> Service:
        """The model. Raises RequestError if it is not ready."""
        model = self._model
        if model is not None:
            return model
        if self.failure is not None:
            raise RequestError(500, f"the model cannot be served: {self.failure}")
        raise RequestError(503, "the model is being loaded; try again soon")

    @property
    def config(self) -> ModelConfig | None:
        """The model's config; None while it is being loaded."""
        return None if self._model is None else self._model.config

    def start(self) -> None:
        self._thread.start()

    def wait(self, timeout: float) -> State:
        """The state once it is decided, or after `timeout` seconds."""
        self._decided.wait(timeout)
        return self._readiness[self._worker]

    def stop(self) -> None:
        """Finish what was accepted, accept no more, and end the thread."""
        self._stopping = True
        model = self._model
        if model is not None:
            model.stop()
        self._thread.join()

    def _run(self) -> None:
        try:
            model = self._load()
            self._decided.set()
            if self._stopping:
                model.stop()
            model.run()
        except UserError as error:
            self._fail(str(error), error.exit_code)
        except Exception as error:  # reported here, where the model's thread ends
            if is_out_of_memory(error):
                reason = f"memory does not suffice for the model and batches of BATCH_SIZE images ({error})"
                self._fail(f"{reason}; use a smaller BATCH_SIZE or a larger instance", ResourceError.exit_code)
                return
            logger.exception("internal error in loading or running the model")
            self._fail(f"{type(error).__name__}: {error}", INTERNAL_ERROR_EXIT_CODE)

    def _load(self) -> Service:
        started = time.monotonic()
        model = self._source()
        model.warm_up()
        self._model = model
        self._readiness[self._worker] = State.READY
        logger.info("ready after %.1f s: %s", time.monotonic() - started, model)
        return model

    def _fail(self, reason: str, exit_code: int) -> None:
        logger.error("the model cannot be served: %s", reason)
        self._model = None
        self.failure = reason
        self._readiness.exit_code = exit_code
        self._readiness[self._worker] = State.FAILED
        self._decided.set()
        self._on_failure()


def load_model(settings: Settings, worker: int, observer: Observer | None = None) -> Service:
    """The single model of the settings, for one of the workers; to be called in the thread that will be its own.

    Raises DataError if it is missing or damaged, and ResourceError if the GPU cannot be used.
    """
    from byoc_serve.model_service import ModelService
    from byoc_vision.inference.engines.openvino_engine import choose_streams
    from byoc_vision.inference.predictor import Predictor

    _use_one_opencv_thread()
    device = None
    if _may_have_gpu(settings):
        gpus = _find_usable_gpus(settings, quiet=worker > 0)
        device = f"cuda:{worker % gpus}" if gpus > 1 else None
    threads = share_of_cores(available_cores(), settings.workers)
    streams = min(settings.batch_size, choose_streams(threads))
    predictor = Predictor.load(settings.model, device, settings.engine, threads, streams, settings.precision)
    if settings.cuda_graphs and predictor.device.startswith("cuda"):
        _record_graphs(predictor, settings.batch_size)
    return ModelService(predictor, settings, observer)


def load_script(settings: Settings, script: Script, worker: int, observer: Observer | None = None) -> Service:
    """The user's script, for one of the workers; to be called in the thread that will be its own.

    Raises InputError, with the line of the script, if it cannot be loaded.
    """
    from byoc_serve.scripts.handlers import load_handlers
    from byoc_serve.scripts.service import ScriptService

    _use_one_opencv_thread()
    _share_machine(settings, worker)
    gpu = 0 if visible_gpus(os.environ) else None
    handlers = load_handlers(script, settings, gpu)
    cores = available_cores()
    if not handlers.takes_lists and gpu is None and settings.workers == 1 < cores:
        logger.info("The script gets one request at a time; with SERVER_WORKERS=%d it gets one for each core", cores)
    return ScriptService(handlers, settings, observer)


def _share_machine(settings: Settings, worker: int) -> None:
    """Let each of several workers see its own GPU and use its share of the cores, before its script imports torch."""
    if settings.workers > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(share_of_cores(available_cores(), settings.workers)))
    names = gpu_names(os.environ)
    if len(names) > 1:
        os.environ[GPU_VARIABLE] = names[worker % len(names)]


def _record_graphs(predictor: Predictor, batch_size: int) -> None:
    from byoc_vision.inference.engines.torch_engine import TorchEngine
    from byoc_vision.inference.reference import reference_image

    assert isinstance(predictor.engine, TorchEngine), "no other engine computes on a GPU"
    predictor.engine.record_graphs(reference_image(predictor.config.preprocess).repeat(batch_size, axis=0))


def load_one_of_many(
    folder: Path, settings: Settings, device: str | None = None, observer: Observer | None = None
) -> Service:
    """The model in `folder`, beside others; to be called in the thread that will be its own.

    A script of the user's own gets a process of its own.

    device: as torch names it; by default the GPU with the most free memory, or the CPU.
    Raises RequestError 507 if free memory does not suffice, and 400 if all memory does not; DataError if the model is
    damaged or impossible, and ResourceError if the GPU cannot be used.
    """
    needed = bytes_needed(folder)
    if script := find_script(folder, {PROGRAM: os.environ.get(PROGRAM, "")}, folder):
        from byoc_serve.scripts.process import ScriptProcess
        from byoc_serve.scripts.service import ScriptService

        check_container(needed + LIBRARIES)
        return ScriptService(ScriptProcess(script, settings), settings, observer)
    check_container(needed)
    from byoc_serve.model_service import ModelService
    from byoc_vision.inference.predictor import Predictor

    _use_one_opencv_thread()
    if device is None and _may_have_gpu(settings):
        device = _choose_gpu(settings, needed)
    on_cpu = device is None or device == "cpu"
    # Measuring would load it twice: too long for a request that waits, and more memory than was counted on.
    precision = "float32" if on_cpu and settings.precision == "auto" else settings.precision
    predictor = Predictor.load(folder, device, settings.engine, precision=precision)
    return ModelService(predictor, settings, observer)


def _use_one_opencv_thread() -> None:
    """`ModelService` works on as many images at once as there are cores, each in its request's thread."""
    import cv2

    cv2.setNumThreads(1)


def _may_have_gpu(settings: Settings) -> bool:
    """Whether torch, which takes seconds to import, may find a GPU."""
    return settings.engine != "openvino" and visible_gpus(os.environ) > 0


def _find_usable_gpus(settings: Settings, quiet: bool) -> int:
    """How many GPUs torch can use; 0 if the CPU takes their place. Raises ResourceError."""
    from byoc_vision.system.gpus import check_gpus, find_gpus

    hardware = find_gpus()
    fallback, transform = settings.allow_cpu_fallback, settings.batch_transform
    warning = check_gpus(hardware, allow_cpu_fallback=fallback, serving=True, transform=transform)
    if not quiet:
        logger.info("%s", hardware)
        if warning:
            logger.warning(warning)
    return len(hardware.names)  # torch.cuda.device_count() also counts those that it cannot use


def _choose_gpu(settings: Settings, needed: int) -> str | None:
    """The GPU with the most free memory; None if torch can use none. Raises RequestError 507 or 400, ResourceError."""
    import torch

    gpus = _find_usable_gpus(settings, quiet=False)
    if not gpus:
        return None
    memory = [torch.cuda.mem_get_info(gpu) for gpu in range(gpus)]
    free = [
        free_on_gpu(unused, torch.cuda.memory_reserved(gpu), torch.cuda.memory_allocated(gpu))
        for gpu, (unused, _) in enumerate(memory)
    ]
    check_room(needed, max(free), "the GPU's memory", max(total for _, total in memory))
    return f"cuda:{free.index(max(free))}"
