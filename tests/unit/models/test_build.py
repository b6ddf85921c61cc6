"""Every architecture keeps the same promises. A new one is a line in `SPECS`."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from byoc_vision.errors import InputError
from byoc_vision.models.build import build_model, check_batches_of_one, check_input_size, input_multiple
from byoc_vision.models.names import SMP_STRIDES
from byoc_vision.models.shapes import freeze_unused
from byoc_vision.types import ModelSpec


def segmenter(architecture: str, encoder: str | None = None) -> ModelSpec:
    return ModelSpec(task="segmentation", architecture=architecture, encoder=encoder, outputs=3)


def classifier(architecture: str, *hidden_units: int, dropout_rate: float | None = None) -> ModelSpec:
    return ModelSpec(
        task="classification",
        architecture=architecture,
        outputs=5,
        hidden_units=hidden_units,
        dropout_rate=dropout_rate,
    )


SPECS = {
    "unet_small": segmenter("unet_small"),
    "fcn_resnet50": segmenter("fcn_resnet50"),
    **{f"{name} on resnet18": segmenter(name, "resnet18") for name in SMP_STRIDES if name != "dpt"},
    "dpt on vit_tiny": segmenter("dpt", "tu-vit_tiny_patch16_224"),
    "unet on timm's encoder": segmenter("unet", "tu-mobilenetv3_small_050"),
    "resnet18": classifier("resnet18"),
    "mobilenetv2_100": classifier("mobilenetv2_100"),
    "efficientnet_b0": classifier("efficientnet_b0", dropout_rate=0.5),
    "convnext_atto": classifier("convnext_atto"),
    "regnetx_002": classifier("regnetx_002"),
    "vit_tiny": classifier("vit_tiny_patch16_224"),
    "resnet18, hidden": classifier("resnet18", 16, 8, dropout_rate=0.5),
    "mobilenetv3_small_050, hidden": classifier("mobilenetv3_small_050", 16),
    "convnext_atto, hidden": classifier("convnext_atto", 16),
    "deit_tiny, hidden": classifier("deit_tiny_patch16_224", 16),
}
SMALLEST_SIDE = {"pan": 128}  # it pools three times below its stride of 16


class Built(NamedTuple):
    spec: ModelSpec
    model: nn.Module
    images: Tensor  # [2, 3, side, side]
    logits: Tensor  # in evaluation


@pytest.fixture(scope="class", params=SPECS)
def built(request: pytest.FixtureRequest) -> Built:
    torch.manual_seed(0)
    spec = SPECS[request.param]
    side = SMALLEST_SIDE.get(spec.architecture, 32)
    model, images = build_model(spec).eval(), torch.randn(2, 3, side, side)
    with torch.no_grad():
        return Built(spec, model, images, model(images))


class TestEveryModel:
    def test_has_logits_of_the_expected_shape(self, built: Built) -> None:
        size = built.images.shape[2:] if built.spec.task == "segmentation" else ()
        assert built.logits.shape == (2, built.spec.outputs, *size)
        assert built.logits.dtype == torch.float32

    def test_answers_the_same_when_rebuilt_from_its_spec_and_its_state(self, built: Built) -> None:
        with torch.device("meta"):  # no weights are drawn that are thrown away
            again = build_model(ModelSpec.model_validate_json(built.spec.model_dump_json()))
        again.load_state_dict(built.model.state_dict(), assign=True)
        with torch.no_grad():
            assert torch.equal(again.eval()(built.images), built.logits)

    def test_answers_the_same_in_channels_last(self, built: Built) -> None:
        last = copy.deepcopy(built.model).to(memory_format=torch.channels_last)
        with torch.no_grad():
            logits = last(built.images.to(memory_format=torch.channels_last))
        torch.testing.assert_close(logits, built.logits, rtol=1e-3, atol=1e-3)

    def test_takes_sides_that_divide_by_its_multiple(self, built: Built) -> None:
        multiple = input_multiple(built.spec)
        side = -(-160 // multiple) * multiple
        check_input_size(built.model, built.spec, side, side + multiple)

    def test_trains_all_but_what_is_known_to_be_unused(self, built: Built) -> None:
        model = copy.deepcopy(built.model).train()
        model(built.images).square().mean().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        unused = {name for name, gradient in gradients.items() if gradient is None}
        if unused:
            freeze_unused(model)
            assert unused == {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        used = [gradient for gradient in gradients.values() if gradient is not None]
        assert all(gradient.isfinite().all() for gradient in used)
        assert any(gradient.abs().sum() > 0 for gradient in used)


@pytest.mark.parametrize(
    ("spec", "side", "text"),
    [
        (segmenter("unet_small"), 40, "multiples of 16; the nearest is 32, 32"),
        (segmenter("deeplabv3plus", "resnet18"), 40, "multiples of 16; the nearest is 32, 32"),
        (segmenter("fpn", "resnet18"), 40, "multiples of 32; the nearest is 32, 32"),
        (segmenter("pan", "resnet18"), 64, "use a larger size"),
        (classifier("vit_tiny_patch16_224"), 60, "multiples of 16; the nearest is 64, 64"),
        (classifier("mixer_s32_224"), 256, "or 224"),
    ],
)
def test_a_wrong_size_is_an_error_that_names_the_nearest_size(spec: ModelSpec, side: int, text: str) -> None:
    with pytest.raises(InputError, match=text) as error:
        check_input_size(build_model(spec), spec, side, side)
    assert str(error.value).startswith(f"image_size={side}, {side} does not fit model={spec.architecture}")


@pytest.mark.parametrize(
    ("spec", "side", "fits"),
    [
        (ModelSpec(task="classification", architecture="resnet18", outputs=2), 32, False),
        (ModelSpec(task="classification", architecture="resnet18", outputs=2), 64, True),
        (ModelSpec(task="segmentation", architecture="deeplabv3plus", encoder="mobilenet_v2", outputs=1), 64, False),
        (ModelSpec(task="segmentation", architecture="pspnet", encoder="mobilenet_v2", outputs=1), 64, True),
        (ModelSpec(task="segmentation", architecture="unet_small", outputs=1), 64, True),
        (ModelSpec(task="segmentation", architecture="fpn", encoder="mobilenet_v2", outputs=1), 64, True),
    ],
)
def test_a_model_that_needs_batches_of_two_says_so(spec: ModelSpec, side: int, fits: bool) -> None:
    """As the network itself does when it trains on one image."""
    network = build_model(spec)
    if fits:
        check_batches_of_one(network, spec, side, side, "Set batch_size=2")
        assert network.train()(torch.zeros(1, 3, side, side)).shape[0] == 1
        return
    with pytest.raises(
        InputError, match=rf"model={spec.architecture}.* needs batches of two .*\. Set batch_size=2, enl"
    ):
        check_batches_of_one(network, spec, side, side, "Set batch_size=2")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network.train()(torch.zeros(1, 3, side, side))


def test_an_encoder_with_a_default_size_accepts_other_sizes_if_it_can() -> None:
    spec = segmenter("unet", "tu-swin_tiny_patch4_window7_224")
    with torch.device("meta"):
        check_input_size(build_model(spec), spec, 256, 320)


def test_only_parameters_that_do_not_affect_the_logits_are_frozen() -> None:
    model = build_model(segmenter("pspnet", "resnet18"))
    before = copy.deepcopy(model.state_dict())
    freeze_unused(model)
    frozen = {name.split(".")[1] for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"layer3", "layer4"}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_is_frozen_if_all_parameters_are_used() -> None:
    model = build_model(segmenter("unet_small"))
    freeze_unused(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_dropout_is_in_the_head() -> None:
    hidden = build_model(classifier("resnet18", 16, 8, dropout_rate=0.25)).head
    assert [type(layer).__name__ for layer in hidden] == [
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    assert [layer.p for layer in hidden if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    assert build_model(classifier("resnet18", dropout_rate=0.25)).drop_rate == 0.25


@pytest.mark.parametrize("name", ["ghostnet_050", "rexnet_100", "efficientnet_es", "inception_v3", "dpn48b"])
@pytest.mark.parametrize("hidden_units", [(), (8,)])
def test_without_dropout_training_answers_the_same_twice(name: str, hidden_units: tuple[int, ...]) -> None:
    model = build_model(classifier(name, *hidden_units, dropout_rate=0.0)).train()
    images = torch.randn(2, 3, 96, 96)
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("hidden_units", [(), (8,)])
def test_dropout_that_is_not_set_is_the_networks_own(hidden_units: tuple[int, ...]) -> None:
    model = build_model(classifier("ghostnet_050", *hidden_units))
    assert (model.backbone if hidden_units else model).drop_rate == 0.2
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.0] * len(hidden_units)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (segmenter("unetplusplus", "mit_b0"), "encoder=mit_b0 does not work with model=unetplusplus"),
        (segmenter("deeplabv3", "vgg11"), "encoder=vgg11 does not work with model=deeplabv3"),
        (segmenter("dpt", "resnet18"), "encoder=resnet18 does not work with model=dpt"),
        (segmenter("unet", "tu-vit_tiny_patch16_224"), "encoder=tu-vit_tiny_patch16_224 does not work with model=unet"),
    ],
)
def test_an_encoder_that_does_not_work_with_the_architecture_is_an_error(spec: ModelSpec, text: str) -> None:
    with pytest.raises(InputError, match=text):
        build_model(spec)


def test_a_model_library_is_imported_when_a_model_of_its_own_is_built() -> None:
    program = """if True:
        import sys
        from byoc_vision.models.build import build_model
        from byoc_vision.types import ModelSpec

        def build(**options):
            build_model(ModelSpec(outputs=2, **options))
            libraries = ("torchvision", "timm", "segmentation_models_pytorch")
            print(*[library for library in libraries if library in sys.modules])

        build(task="segmentation", architecture="unet_small")
        build(task="segmentation", architecture="fcn_resnet50")
        build(task="classification", architecture="resnet18")
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "torchvision", "torchvision timm"]
