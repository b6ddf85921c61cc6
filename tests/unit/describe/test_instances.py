"""What memory is counted, and which instance types are said to hold it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from byoc_vision.describe.instance_types import T4, InstanceType, instance_types, offered
from byoc_vision.describe.instances import (
    FILLED,
    SERVERLESS_SIZES,
    Advice,
    Workload,
    advise,
    as_json,
    as_table,
    inference_ami_of,
)
from byoc_vision.describe.step_memory import Live, empty_batch, normalized, training_memory, training_step
from byoc_vision.errors import InputError
from byoc_vision.models.build import build_model
from byoc_vision.models.shapes import freeze_unused
from byoc_vision.types import ModelSpec

UNET = ModelSpec(task="segmentation", architecture="unet_small", outputs=1)
CLASSIFIER = ModelSpec(task="classification", architecture="resnet10t", outputs=10)
FLOAT = 4  # bytes


def parameters(spec: ModelSpec) -> int:
    return sum(parameter.numel() for parameter in build_model(spec).parameters())


class TestCounting:
    @pytest.mark.parametrize("spec", [UNET, CLASSIFIER], ids=lambda spec: spec.architecture)
    def test_fake_tensors_count_as_real_ones(self, spec: ModelSpec) -> None:
        """To the byte: the same steps, once computed."""
        network = build_model(spec)
        freeze_unused(network)
        model = normalized(network)
        with Live() as live:
            for tensor in (*model.parameters(), *model.buffers()):
                live.count(tensor)
            step = training_step(spec, model, "adamw", torch.float32)
            step.begin()
            for _ in range(2):
                images, targets = empty_batch(spec, (32, 32), 2)
                step([(images.zero_(), targets.zero_())])
                del images, targets
        assert training_memory(spec, (32, 32), 2).peak == live.peak

    def test_parts_are_what_is_known_of_them(self) -> None:
        memory = training_memory(CLASSIFIER, (32, 32), 2)
        weights = FLOAT * parameters(CLASSIFIER)
        assert memory.gradients == weights
        assert weights <= memory.weights < 1.01 * weights, "and the buffers of batch normalisation"
        assert 2 * weights <= memory.optimizer < 2.01 * weights, "AdamW keeps two averages"
        assert memory.activations > 0

    def test_the_peak_grows_with_the_images(self) -> None:
        four, eight, sixteen = (training_memory(CLASSIFIER, (128, 128), count).peak for count in (4, 8, 16))
        assert sixteen - eight == pytest.approx(2 * (eight - four), rel=0.02)

    def test_sizes_that_the_model_cannot_take(self) -> None:
        with pytest.raises(
            InputError, match="image_size=65, 64 does not fit model=unet_small: sides must be multiples of 16"
        ):
            training_memory(UNET, (65, 64), 2)


@pytest.fixture(scope="module")
def training() -> Advice:
    return advise(Workload(UNET, (64, 64), 8))


@pytest.fixture(scope="module")
def serving() -> Advice:
    return advise(Workload(UNET, (64, 64), 4, use="serve"))


class TestAdvice:
    def test_types_are_those_that_sagemaker_offers(self, training: Advice, serving: Advice) -> None:
        assert {"ml.c5.large"} == {fit.instance.name for fit in serving.fits} - {
            fit.instance.name for fit in training.fits
        }
        assert len(serving.fits) == len(instance_types())

    def test_each_is_counted_in_its_own_precision(self, training: Advice) -> None:
        precisions = {fit.instance.name: fit.precision for fit in training.fits}
        assert precisions["ml.c5.xlarge"] == "float32"
        assert precisions["ml.c7i.large"] == precisions["ml.g5.xlarge"] == "bfloat16"
        assert precisions["ml.g4dn.xlarge"] == "float16"
        assert set(training.memory) == {"float32", "bfloat16", "float16"}

    def test_half_precision_halves_most_activations(self, training: Advice) -> None:
        full, half = training.memory["float32"], training.memory["bfloat16"]
        assert 0.4 < half.activations / full.activations < 0.75
        assert half.weights == full.weights

    def test_a_precision_that_is_asked_for_is_everywhere(self) -> None:
        advice = advise(Workload(UNET, (64, 64), 4, precision="float32"))
        assert {fit.precision for fit in advice.fits} == {"float32"}

    def test_what_needs_more_than_there_is_does_not_fit(self, training: Advice) -> None:
        fit = training.fits[0]
        assert replace(fit, needed=int(FILLED * fit.available)).fits
        assert not replace(fit, needed=int(FILLED * fit.available) + 1).fits
        assert not replace(training, fits=(replace(fit, needed=10**9),)).fits[0].fits

    def test_large_batches_need_larger_gpus(self) -> None:
        """Counted in seconds, on a machine that could not hold it."""
        advice = advise(Workload(replace_model("unet"), (512, 512), 64, precision="bfloat16"))
        fitting = {fit.instance.gpu.name for fit in advice.fits if fit.instance.gpu and fit.fits}
        assert "T4" not in fitting
        assert "H200" in fitting

    def test_endpoints_on_gpus_ask_for_a_driver(self, serving: Advice) -> None:
        found = {entry["instance_type"]: entry for entry in as_json(serving)["instances"]}
        assert found["ml.g5.xlarge"]["inference_ami_version"] == "al2023-ami-sagemaker-inference-gpu-4-1"
        assert found["ml.c7i.large"]["inference_ami_version"] is None
        assert not found["ml.p5.48xlarge"]["transform"]
        assert inference_ami_of(InstanceType("ml.g4dn.xlarge", 4, 16, 1, T4)) is not None

    def test_serverless_sizes(self, serving: Advice) -> None:
        assert serving.serverless in SERVERLESS_SIZES
        large = Workload(replace_model("unet"), (512, 512), 64, use="serve", precision="float32")
        assert advise(large).serverless is None

    def test_as_json_and_as_a_table(self, training: Advice, serving: Advice) -> None:
        assert json.loads(json.dumps(as_json(training)))["memory_mib"]["float32"]["weights"] > 0
        table = as_table(serving)
        assert "ml.c7i.large" in table
        assert f"{serving.serverless} MB suffice" in table
        hopeless = replace(training, fits=tuple(replace(fit, needed=10**9) for fit in training.fits))
        assert "ml.c5: none fits" in as_table(hopeless)

    def test_a_batch_has_images(self) -> None:
        with pytest.raises(InputError, match="batch_size=0 must be 1 or more"):
            advise(Workload(UNET, (64, 64), 0))


def replace_model(architecture: str) -> ModelSpec:
    return UNET.model_copy(update={"architecture": architecture})


class TestCatalogue:
    def test_names_are_sagemaker_s(self) -> None:
        types = instance_types()
        assert len({it.name for it in types}) == len(types)
        assert all(offered(it.name, "hosting") for it in types)
        assert not offered("ml.c5.tiny", "training")

    def test_gpus_and_their_machines(self) -> None:
        types = {it.name: it for it in instance_types()}
        assert (types["ml.g5.12xlarge"].cores, types["ml.g5.12xlarge"].memory, types["ml.g5.12xlarge"].gpus) == (
            48,
            192,
            4,
        )
        assert (types["ml.g6e.xlarge"].memory, types["ml.c7i.4xlarge"].memory, types["ml.m5.large"].memory) == (
            32,
            32,
            8,
        )
        assert all((it.gpu is None) == (it.gpus == 0) for it in types.values())
