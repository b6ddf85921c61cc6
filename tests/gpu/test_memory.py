"""The GPU's memory: masks of large images, out of memory in each of its spellings, the search for the largest batch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from support.gpu_steps import MANY_CLASSES, batch_of, step_of

from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.inference import postprocess, postprocess_gpu
from byoc_vision.launch.oom import explain
from byoc_vision.precision import Precision, choose_precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.training.auto_batch_size import Trial, choose_size, largest_fitting
from byoc_vision.types import ModelSpec

GIB = 2**30
T4_GIB = 15.0


@contextmanager
def at_most(gib: float) -> Iterator[None]:
    """torch may take so much of the GPU's memory."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(gib * GIB / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize(("classes", "threshold"), [(1, 0.5), (7, None), (150, None)])
def test_masks_are_those_of_the_cpu(classes: int, threshold: float | None, device: torch.device) -> None:
    rule = Preprocess(height=96, width=128, resize="letterbox")
    coarse = torch.randn(1, classes, 12, 16, generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.interpolate(coarse, (96, 128), mode="bicubic")[0]
    theirs = postprocess.label_pixels(logits.numpy(), rule, 501, 333, threshold)
    for planes_bytes in (0, postprocess_gpu.PLANES_BYTES):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(postprocess_gpu, "PLANES_BYTES", planes_bytes)
            ours = postprocess_gpu.label_pixels(logits.to(device), rule, 501, 333, threshold)
        assert float(np.mean(ours != theirs)) < 1e-3


@pytest.mark.gpu
@pytest.mark.parametrize("classes", [21, 150])
def test_a_mask_of_12_megapixels_takes_little(classes: int, device: torch.device, say: Callable[[str], None]) -> None:
    logits = torch.randn(classes, 512, 512, device=device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    postprocess_gpu.label_pixels(logits, Preprocess(height=512, width=512), 3000, 4000)
    taken = (torch.cuda.max_memory_allocated() - before) / GIB
    say(f"{classes} classes at 12 MP: {taken:.2f} GiB")
    assert taken < 0.4


@pytest.mark.gpu
@pytest.mark.parametrize("gib", [0.3, 0.6, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0])
def test_out_of_memory_is_explained_however_it_is_spelt(
    gib: float, device: torch.device, say: Callable[[str], None]
) -> None:
    """At some of the limits it is a workspace that finds no room."""
    spec = ModelSpec(task="segmentation", architecture="unet", outputs=1)
    failure: Exception | None = None
    with at_most(gib):
        try:
            step = step_of(spec, torch.bfloat16, device)
            step([batch_of(spec, device, 8, 512)])
            torch.cuda.synchronize()
        except Exception as error:
            failure = error
    said = f"{type(failure).__name__}: {str(failure)[:60]}" if failure else "suffice"
    say(f"{gib} GiB: {said}")
    assert failure is None or explain(failure, 8) is not None


@pytest.mark.gpu
@pytest.mark.parametrize("outputs", [1, 21, 150])
def test_the_batch_that_is_found_for_15_gib_fits_the_job(
    outputs: int, device: torch.device, say: Callable[[str], None]
) -> None:
    spec = ModelSpec(task="segmentation", architecture="unet", encoder="resnet34", outputs=outputs)
    precision = choose_precision("auto", device)
    with at_most(T4_GIB):
        activation = "sigmoid" if outputs == 1 else "softmax"
        trial = Trial(spec, (512, 512), device, precision, Hyperparameters(), activation)
        size = choose_size(largest_fitting(trial.fits, 256), 256)
        del trial
        gc.collect()
        torch.cuda.empty_cache()
        step = step_of(spec, precision.dtype, device)
        for _ in range(3):
            step([batch_of(spec, device, size, 512)])
        torch.cuda.synchronize()
        say(f"{outputs} classes: batches of {size}, {torch.cuda.max_memory_reserved() / GIB:.1f} GiB reserved")


def test_a_trial_is_a_step(device: torch.device) -> None:
    trial = Trial(MANY_CLASSES, (64, 64), device, Precision(torch.bfloat16, device.type), Hyperparameters(), "softmax")
    assert trial.fits(2)
