from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.errors import InputError
from byoc_vision.models.names import (
    DEFAULT_ENCODER,
    OWN_UNETS,
    SMP_STRIDES,
    TORCHVISION_FCNS,
    canonical_spec,
    classifier_name,
    encoder_name,
    known_architectures,
    squeeze,
    task_of,
)
from byoc_vision.types import ModelSpec

CLASSIFIERS = known_architectures("classification")


def segmenter(architecture: str, encoder: str | None = None) -> ModelSpec:
    return canonical_spec(ModelSpec(task="segmentation", architecture=architecture, encoder=encoder, outputs=1))


def classifier(architecture: str, **options: object) -> ModelSpec:
    return canonical_spec(
        ModelSpec.model_validate({"task": "classification", "architecture": architecture, "outputs": 2, **options})
    )


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("resnet-50", "resnet50"),
        ("ResNet50", "resnet50"),
        ("resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("mobilenet_v2", "mobilenetv2_100"),
        ("MobileNetV2", "mobilenetv2_100"),
        ("mobilenet_v3_large", "mobilenetv3_large_100"),
        ("EfficientNet-B0", "efficientnet_b0"),
        ("vit_b_16", "vit_base_patch16_224"),
        ("swin_t", "swin_tiny_patch4_window7_224"),
        ("DenseNet121", "densenet121"),
        ("inception-v3", "inception_v3"),
    ],
)
def test_a_classifier_has_the_names_that_people_write(written: str, name: str) -> None:
    assert classifier(written).architecture == name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("resnet-50", "resnet50"),
        ("MobileNetV2", "mobilenet_v2"),
        ("efficientnet_b0", "efficientnet-b0"),
        ("timm-efficientnet-b0", "tu-tf_efficientnet_b0"),
        ("convnext_tiny", "tu-convnext_tiny"),
        ("tu-resnet18", "tu-resnet18"),
        ("TU-ResNet18", "tu-resnet18"),
        ("mobilenetv2_100", "tu-mobilenetv2_100"),
    ],
)
def test_an_encoder_comes_from_segmentation_models_pytorch_else_from_timm(written: str, name: str) -> None:
    assert encoder_name(written) == name


@pytest.mark.parametrize(
    ("architecture", "encoder", "expected"),
    [
        ("U-Net", None, ("unet", None)),
        ("unet", "resnet-34", ("unet", "resnet34")),
        ("unet++", None, ("unetplusplus", DEFAULT_ENCODER)),
        ("DeepLabV3+", "mobilenet_v2", ("deeplabv3plus", "mobilenet_v2")),
        ("psp", "resnet-50", ("pspnet", "resnet50")),
        ("deeplab", "resnet-101", ("deeplabv3", "resnet101")),
        ("fcn", "resnet-101", ("fcn_resnet101", None)),
        ("fcn", None, ("fcn_resnet50", None)),
        ("fcn-resnet50", "resnet50", ("fcn_resnet50", None)),
        ("dpt", None, ("dpt", "tu-vit_base_patch16_224.augreg_in21k")),
    ],
)
def test_a_segmentation_model_has_its_usual_names(
    architecture: str, encoder: str | None, expected: tuple[str, str | None]
) -> None:
    spec = segmenter(architecture, encoder)
    assert (spec.architecture, spec.encoder) == expected
    assert canonical_spec(spec) == spec


@given(st.sampled_from(CLASSIFIERS), st.data())
def test_case_and_punctuation_do_not_matter(name: str, data: st.DataObject) -> None:
    written = "".join(
        data.draw(st.sampled_from([letter, letter.upper()]))
        if letter != "_"
        else data.draw(st.sampled_from(["", "-", "_"]))
        for letter in name
    )
    assert classifier_name(written) == name


def test_names_of_a_task_differ_in_more_than_punctuation() -> None:
    assert len({squeeze(name) for name in CLASSIFIERS}) == len(CLASSIFIERS) > 1000
    segmenters = known_architectures("segmentation")
    assert len({squeeze(name) for name in segmenters}) == len(segmenters)


def test_the_tables_match_the_libraries() -> None:
    import segmentation_models_pytorch as smp
    from torchvision.models import list_models

    assert set(SMP_STRIDES) == set(smp.MODEL_ARCHITECTURES_MAPPING)
    assert set(TORCHVISION_FCNS) == {name for name in list_models() if name.startswith("fcn_")}
    assert set(known_architectures("segmentation")) == {*OWN_UNETS, *SMP_STRIDES, *TORCHVISION_FCNS}


@pytest.mark.parametrize("name", ["unet", "unet_small", "deeplabv3+", "fcn-resnet101", "psp"])
def test_the_task_of_a_segmentation_model(name: str) -> None:
    assert task_of(name) == "segmentation"


@pytest.mark.parametrize("name", ["resnet-18", "mobilenet_v2", "vit_tiny_patch16_224"])
def test_the_task_of_a_classifier(name: str) -> None:
    assert task_of(name) == "classification"


def test_an_unknown_name_has_no_task() -> None:
    with pytest.raises(InputError, match=r"model=resnet5O is not known; the nearest names are resnet50, "):
        task_of("resnet5O")


@pytest.mark.parametrize(
    ("architecture", "encoder", "text"),
    [
        ("unett", None, r"model=unett is not known; the nearest names are unet, "),
        ("unet", "resnet35", r"encoder=resnet35 is not known; the nearest names are .*resnet34"),
        ("unet", "qqqqqqqq", r"encoder=qqqqqqqq is not known; no known name is similar"),
        ("resnet18", None, r"model=resnet18 is an encoder, not a segmentation model: set model=unet, encoder=resnet18"),
        ("unet_small", "resnet18", r"encoder=resnet18: model=unet_small does not take an encoder"),
        ("fcn_resnet50", "resnet101", r"encoder=resnet101: model=fcn_resnet50 does not take an encoder"),
    ],
)
def test_the_error_for_a_wrong_segmentation_model_names_the_field_and_the_fix(
    architecture: str, encoder: str | None, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        segmenter(architecture, encoder)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"architecture": "mobilenetv2"}, None),
        ({"architecture": "mobilnetv2"}, r"model=mobilnetv2 is not known; the nearest names are mobilenetv2_100"),
        ({"architecture": "resnet50.a9_in1k"}, r"model=resnet50.a9_in1k is not known; .*resnet50.a1_in1k"),
        ({"architecture": "hf-hub:timm/resnet50.a1_in1k"}, r"model=hf-hub:timm/resnet50.a1_in1k is not known"),
        ({"architecture": "unet"}, r"model=unet is a segmentation model; use a classifier"),
        ({"architecture": "resnet18", "encoder": "resnet18"}, r"encoder=resnet18 is for segmentation"),
    ],
)
def test_the_error_for_a_wrong_classifier_names_the_field_and_the_fix(
    options: dict[str, str], text: str | None
) -> None:
    if text is None:
        assert classifier(**options).architecture == "mobilenetv2_100"
        return
    with pytest.raises(InputError, match=text):
        classifier(**options)


@pytest.mark.parametrize("field", [{"hidden_units": (8,)}, {"dropout_rate": 0.5}])
def test_segmentation_does_not_accept_options_of_a_classifier_s_head(field: dict[str, object]) -> None:
    spec = ModelSpec.model_validate({"task": "segmentation", "architecture": "unet", "outputs": 1, **field})
    with pytest.raises(InputError, match=f"{next(iter(field))} configures a classifier's head"):
        canonical_spec(spec)
