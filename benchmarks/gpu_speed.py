"""Measures what makes the GPU faster, each against its absence: a step, a batch, batches under load.

    .venv/bin/python benchmarks/gpu_speed.py [--seconds 200] [--only NAME …] [--output benchmarks/results/NAME.json]

    cast          weights cast once for serving, or in each forward pass
    graphs        CUDA graphs, for batches of 1, 2, 4 and 8
    synchronised  `run` waits for its batch, or returns at once: images per second of 32 clients, and the mean batch
    decoding      the workers of a machine divide its cores for decoding, or each takes all of them: images per second
    waits         a step of float16 that waits for the GPU once, or asks the scaler for its scale twice more
    benchmark     cuDNN times its convolutions, or not
    buckets       gradients in DistributedDataParallel's buffers, or in a copy; also the memory
    broadcast     buffers stay, or are sent from the first process before each step
    compile       the step of a network that torch.compile compiled, if a C compiler is here

On a CPU everything that can runs there, on smaller images, to see that the script works. What is not measured because
the time is over is listed.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
from common import PET, encode, write
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from byoc_serve.batch import Batcher
from byoc_vision.artifact import ModelConfig
from byoc_vision.data.decoding import decode, open_image
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.launch.distributed import SYNC_BUFFERS, World, wrap_ddp
from byoc_vision.models.build import build_model
from byoc_vision.models.losses import build_loss
from byoc_vision.models.normalized import Normalized
from byoc_vision.models.torch_compile import what_is_missing
from byoc_vision.precision import Precision, allow_tf32, choose_precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.machine import available_cores, share_of_cores
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Step
from byoc_vision.types import ClassInfo, ModelSpec

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if ON_GPU else torch.device("cpu")
CLASSIFIER = ModelSpec(task="classification", architecture="resnet50" if ON_GPU else "resnet18", outputs=5)
SEGMENTER = ModelSpec(
    task="segmentation", architecture="unet", encoder="resnet34" if ON_GPU else "mobilenet_v2", outputs=1
)
SIDE, BATCH = (224, 64) if ON_GPU else (64, 4)
SCALED_BATCH = 8 if ON_GPU else 2  # small: there the waits show
GRAPHED = (1, 2, 4, 8) if ON_GPU else (1, 4)
WORKERS = 4 if ON_GPU else 2  # on one GPU: what they share here is the cores
TWO = World(0, 0, 2)  # the group has one process

Figures = dict[str, Any]


def synchronise() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def milliseconds(run: Callable[[], object], seconds: float = 2.0, least: int = 5) -> float:
    """The median time of a call, in ms, after it was called three times."""
    for _ in range(3):
        run()
    synchronise()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < least:
        started = time.perf_counter()
        run()
        synchronise()
        found.append(1e3 * (time.perf_counter() - started))
    return round(statistics.median(found), 3)


def config_of(spec: ModelSpec) -> ModelConfig:
    value = (lambda index: index) if spec.task == "segmentation" else (lambda index: None)
    classes = tuple(ClassInfo(name=str(index), value=value(index)) for index in range(max(2, spec.outputs)))
    activation = "sigmoid" if spec.outputs == 1 else "softmax"
    rule = Preprocess(height=SIDE, width=SIDE)
    return ModelConfig(model=spec, classes=classes, activation=activation, preprocess=rule)


def engine_of(spec: ModelSpec, *, cast: bool = True) -> tuple[TorchEngine, np.ndarray]:
    torch.manual_seed(0)
    precision = choose_precision("auto" if ON_GPU else "bfloat16", DEVICE)
    engine = TorchEngine(build_model(spec).eval(), config_of(spec), DEVICE, precision)
    images = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    if cast:
        engine.settle_precision(images)
    return engine, images


def step_of(
    dtype: torch.dtype, wrap: Callable[[nn.Module], nn.Module] = lambda model: model, spec: ModelSpec = CLASSIFIER
) -> Step:
    torch.manual_seed(0)
    model = Normalized(build_model(spec), (0.5,) * 3, (0.5,) * 3).to(DEVICE).to(memory_format=torch.channels_last)
    precision = Precision(dtype, DEVICE.type)
    scaler = precision.scaler()
    optimizer = build_optimizer("adamw", model, 1e-3, scaled=scaler.is_enabled())
    schedule = build_schedule("constant", optimizer, total_steps=9, steps_per_epoch=9)
    loss = build_loss("cross_entropy", "softmax", task="classification").to(DEVICE)
    step = Step(wrap(model), loss, optimizer, schedule, precision, scaler, DEVICE)
    step.begin()
    return step


def batch_of(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(256, (count, 3, SIDE, SIDE), dtype=torch.uint8, device=DEVICE)
    return images.contiguous(memory_format=torch.channels_last), torch.randint(5, (count,), device=DEVICE)


def time_step(step: Step, count: int = BATCH) -> float:
    batch = batch_of(count)
    return milliseconds(lambda: step([batch]))


def cast() -> Figures:
    found = {}
    for name, once in (("with", True), ("without", False)):
        engine, images = engine_of(CLASSIFIER, cast=once)
        found[name] = milliseconds(lambda engine=engine, images=images: engine.run(images[:1]))
    return {"ms for one image": found}


def graphs() -> Figures:
    figures = {}
    for spec in (CLASSIFIER, SEGMENTER):
        engine, images = engine_of(spec)
        for count in GRAPHED:

            def run(count: int = count, engine: TorchEngine = engine, images: np.ndarray = images) -> object:
                return engine.run(images[:count])

            engine._graphs = None
            without = milliseconds(run, 1.0)
            if ON_GPU:
                engine.record_graphs(images[:count])
            figures[f"ms for {count}, {spec.architecture}"] = {"with": milliseconds(run, 1.0), "without": without}
    return figures


def synchronised() -> Figures:
    found: dict[str, Any] = {}
    for name, waits in (("with", True), ("without", False)):
        engine, images = engine_of(SEGMENTER)
        engine.run(images)
        image = images[0]
        found[name] = under_load(engine if waits else Returning(engine), lambda image=image: image)
    return {"images per second, mean batch": found}


class Returning:
    """An engine whose `run` returns when its batch is on the way."""

    def __init__(self, engine: TorchEngine) -> None:
        self.engine = engine

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(DEVICE, non_blocking=True)
        return self.engine._forward(batch)


def under_load(
    engine: Any, make_image: Callable[[], np.ndarray], clients: int = 32, seconds: float = 3.0
) -> list[float]:
    """Images per second, and the mean batch."""
    sizes: list[int] = []
    done = [0] * clients
    batcher: Batcher[np.ndarray, Any] = Batcher(8, 64)

    def compute(items: list[np.ndarray]) -> list[Any]:
        sizes.append(len(items))
        return list(engine.run(np.stack(items)))

    def client(index: int) -> None:
        while time.monotonic() < end:
            torch.as_tensor(batcher.submit(make_image(), time.monotonic() + 60, 60.0).result()).argmax().item()
            done[index] += 1

    end = time.monotonic() + seconds
    threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
    server = threading.Thread(target=lambda: batcher.run(compute))
    for thread in (server, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    batcher.stop()
    server.join()
    return [round(sum(done) / seconds, 1), round(sum(sizes) / max(1, len(sizes)), 2)]


def decoding() -> Figures:
    """Each worker is a process with the network; images come as JPEG."""
    context = multiprocessing.get_context("spawn")
    cores = available_cores()
    barrier, seen = context.Barrier(WORKERS), context.Queue()
    shares = [share_of_cores(cores, WORKERS), cores]
    processes = [context.Process(target=work, args=(shares, barrier, seen)) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    rates = [seen.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    together = [round(sum(rate), 1) for rate in zip(*rates, strict=True)]
    return {f"images per second of {WORKERS} workers": dict(zip(("with", "without"), together, strict=True))}


def work(shares: list[int], barrier: Barrier, seen: multiprocessing.Queue[list[float]]) -> None:
    """Serve with each share of the cores; all workers at the same time."""
    cv2.setNumThreads(1)  # as in the server
    engine, images = engine_of(CLASSIFIER)
    engine.run(images)
    jpeg, _ = encode(PET, 0)
    rates = []
    for share in shares:
        cores = threading.BoundedSemaphore(share)

        def make_image(cores: threading.BoundedSemaphore = cores) -> np.ndarray:
            with cores:
                return Preprocess(height=SIDE, width=SIDE).image(decode(open_image(jpeg)))

        barrier.wait()
        rates.append(under_load(engine, make_image)[0])
    seen.put(rates)


class Asking(torch.amp.GradScaler):
    """A scaler that is asked for its scale before and after each step."""

    def step(self, optimizer: torch.optim.Optimizer, *arguments: Any, **options: Any) -> float | None:
        self.get_scale()
        return super().step(optimizer, *arguments, **options)

    def update(self, new_scale: float | torch.Tensor | None = None) -> None:
        super().update(new_scale)
        self.get_scale()


def waits() -> Figures:
    dtype = torch.float16 if ON_GPU else torch.float32
    once, thrice = step_of(dtype), step_of(dtype)
    object.__setattr__(thrice, "scaler", Asking(DEVICE.type, enabled=ON_GPU))
    return {"ms a step": {"with": time_step(once, SCALED_BATCH), "without": time_step(thrice, SCALED_BATCH)}}


def benchmark() -> Figures:
    found = {}
    for name, chosen in (("without", False), ("with", True)):
        torch.backends.cudnn.benchmark = chosen
        found[name] = time_step(step_of(torch.bfloat16))
    return {"ms a step": found}


def ddp(**options: bool) -> Callable[[nn.Module], nn.Module]:
    devices = [0] if ON_GPU else None
    return lambda model: DistributedDataParallel(model, device_ids=devices, **options)


def compare_wrapped(without: Callable[[nn.Module], nn.Module]) -> Figures:
    times, memory = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{folder}/store"
        dist.init_process_group("nccl" if ON_GPU else "gloo", init_method=store, rank=0, world_size=1)
        try:
            for name, wrap in (("with", lambda model: wrap_ddp(model, TWO)), ("without", without)):
                if ON_GPU:
                    gc.collect()  # DistributedDataParallel refers to itself
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                times[name] = time_step(step_of(torch.bfloat16, wrap))
                memory[name] = round(torch.cuda.max_memory_allocated() / 2**20) if ON_GPU else 0
        finally:
            dist.destroy_process_group()
    return {"ms a step": times, "MiB at most": memory}


def buckets() -> Figures:
    return compare_wrapped(ddp(**{SYNC_BUFFERS: False}))


def broadcast() -> Figures:
    return compare_wrapped(ddp(gradient_as_bucket_view=True, **{SYNC_BUFFERS: True}))


def compiled() -> Figures:
    if missing := what_is_missing():
        return {"not measured": f"{missing} is missing"}

    def compile_it(model: nn.Module) -> nn.Module:
        model.compile()
        return model

    return {
        "ms a step": {
            "with": time_step(step_of(torch.bfloat16, compile_it)),
            "without": time_step(step_of(torch.bfloat16)),
        }
    }


CASES: dict[str, Callable[[], Figures]] = {
    "cast": cast,
    "graphs": graphs,
    "synchronised": synchronised,
    "decoding": decoding,
    "waits": waits,
    "buckets": buckets,
    "broadcast": broadcast,
    "benchmark": benchmark,
    "compile": compiled,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=200.0, help="no measurement begins after so many")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    allow_tf32()
    end = time.monotonic() + options.seconds
    results: dict[str, Figures] = {}
    for name in options.only:
        if time.monotonic() > end:
            results[name] = {"not measured": "no time was left"}
            print(f"{name}: not measured, no time was left", flush=True)
            continue
        started = time.monotonic()
        results[name] = CASES[name]()
        figures = "; ".join(f"{what}: {values}" for what, values in results[name].items())
        print(f"{name} ({time.monotonic() - started:.0f} s): {figures}", flush=True)
        write(options.output, {"device": torch.cuda.get_device_name() if ON_GPU else "cpu", "speed": results})


if __name__ == "__main__":
    main()
