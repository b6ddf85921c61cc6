from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import Hyperparameters, parse, read
from byoc_vision.hyperparameters.reading import known_names


def test_nothing_given_means_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path / "missing.json") == Hyperparameters()


def test_strings_become_typed_values() -> None:
    parsed = parse({"epochs": "3", "learning_rate": "1e-3", "early_stopping": "True", "image_size": "320, 480"})
    assert (parsed.epochs, parsed.learning_rate, parsed.early_stopping, parsed.image_size) == (
        3,
        1e-3,
        True,
        (320, 480),
    )


@pytest.mark.parametrize("text", ["256", '"256"', "[256, 256]", "256, 256", "256 256", "256x256", "256 × 256"])
def test_a_size_in_any_spelling(text: str) -> None:
    assert parse({"image_size": text}).image_size == (256, 256)


@pytest.mark.parametrize(
    ("text", "name"),
    [("bf16", "bfloat16"), ("FP16", "float16"), ("half", "float16"), ("fp32", "float32"), ("BFloat16", "bfloat16")],
)
def test_a_precision_in_any_spelling(text: str, name: str) -> None:
    assert parse({"precision": text}).precision == name


@pytest.mark.parametrize(("text", "name"), [("True", "light"), ("false", "none"), ("strong", "strong")])
def test_augmentation_as_a_switch(text: str, name: str) -> None:
    assert parse({"augmentation": text}).augmentation == name


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"num_classes": "1"}, "num_classes: it counts all classes, also the background"),
        ({"ignore_index": "-100"}, "ignore_index: it is a value of pixels in masks, from 0 to 255; leave it out"),
    ],
)
def test_usual_mistakes_are_answered_with_the_remedy(given: dict[str, str], answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        parse(given)


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "hyperparameters.json"
    path.write_text('{"epochs": "3"}', encoding="utf-8-sig")
    assert read(path).epochs == 3


@pytest.mark.parametrize("text", ["512", "512, 128", "[512, 128]"])
def test_hidden_units(text: str) -> None:
    assert parse({"hidden_units": text}).hidden_units == (512, 128)[: 1 + ("128" in text)]


def test_the_clients_own_keys_are_passed_over() -> None:
    parse({"_tuning_objective_metric": "validation:dice", "sagemaker_region": '"eu-west-1"'})


@pytest.mark.parametrize("nothing", ["None", "null", ""])
def test_none_means_the_default(nothing: str) -> None:
    assert parse({"encoder": nothing, "epochs": nothing}) == Hyperparameters()


def test_other_names_set_the_field() -> None:
    assert parse({"lr": "0.5", "mini_batch_size": "4"}) == parse({"learning_rate": "0.5", "batch_size": "4"})


def test_one_field_under_two_names_must_agree() -> None:
    assert parse({"lr": "0.5", "learning_rate": "0.5"}).learning_rate == 0.5
    with pytest.raises(InputError, match="learning_rate: is another name of lr, and their values differ"):
        parse({"lr": "0.5", "learning_rate": "0.1"})


def test_every_mistake_in_one_message() -> None:
    with pytest.raises(InputError) as caught:
        parse({"epoch": "3", "batch_size": "many", "optimizer": "admw", "learning_rate": "-1", "pretrained": "maybe"})
    message = str(caught.value)
    assert message.startswith("5 hyperparameters are wrong:")
    assert "epoch: is not known; did you mean epochs?" in message
    assert "batch_size: " in message
    assert "(given: 'many')" in message
    assert "must be adamw, adam" in message
    assert "learning_rate: must be greater than 0 (given: '-1')" in message
    assert message.count("pretrained") == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "unett"}, "model=unett is not known; the nearest names are unet"),
        ({"algorithm": "resnet19"}, "model=resnet19 is not known; the nearest names are "),
        ({"encoder": "resnet35"}, "encoder=resnet35 is not known; the nearest names are "),
        ({"model": "fpn", "encoder": "resnet35"}, "encoder=resnet35 is not known; the nearest names are "),
    ],
)
def test_a_model_that_is_not_known_is_among_the_mistakes(given: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match="2 hyperparameters are wrong:") as caught:
        parse({**given, "epochs": "few"})
    assert said in str(caught.value)
    assert "epochs: " in str(caught.value)


@pytest.mark.parametrize("given", [{"model": "auto"}, {"model": "unet"}, {"model": "ResNet-50"}, {"model": "7"}])
def test_one_that_is_known_is_not(given: dict[str, str]) -> None:
    """A model of another type is not named twice either."""
    with pytest.raises(InputError, match="epochs: ") as caught:
        parse({**given, "epochs": "few"})
    assert str(caught.value).count("model") <= 1


@pytest.mark.parametrize("given", ["10:20", " 10 : 20 ", "[10, 20]"])
def test_steps_to_profile(given: str) -> None:
    assert parse({"profile_steps": given}).profile_steps == (10, 20)


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("image_size", "1", "greater than or equal to 8"),
        ("image_size", "224, 7", "greater than or equal to 8"),
        ("image_size", "100000000", "less than or equal to 16384"),
        ("crop_size", "1", "greater than or equal to 8"),
        ("short_side", "100000000", "less than or equal to 16384"),
        ("image_shape", "3, 1, 224", "greater than or equal to 8"),
        ("seed", "1" * 20, "less than or equal to 9007199254740992"),
        ("epochs", "1" * 20, "less than or equal to 1000000000"),
        ("freeze_epochs", "1" * 20, "less than or equal to 999999999"),
        ("batch_size", "1" * 20, "less than or equal to 1000000000"),
        ("num_workers", "100000", "less than or equal to 1024"),
        ("hidden_units", "512, 1000000000", "less than or equal to 65536"),
    ],
)
def test_absurd_numbers_are_refused_before_anything_is_built_from_them(name: str, value: str, bound: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: must be {bound} \(given: '{value}'\)"):
        parse({name: value})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("20", "it should be from:to, as 10:20"),
        ("1:2:3", "it should be from:to, as 10:20"),
        ("20:10", "from:to should not end before it begins"),
        ("1:101", "more than 100 steps"),
        ("0:5", "must be greater than 0"),
        ("a:b", "must be a whole number"),
    ],
)
def test_steps_that_cannot_be_profiled(given: str, said: str) -> None:
    with pytest.raises(InputError, match="profile_steps: .*" + said):
        parse({"profile_steps": given})


def test_a_mistake_is_named_as_the_user_wrote_it() -> None:
    with pytest.raises(InputError, match=r"lr: must be greater than 0 \(given: '0'\)"):
        parse({"lr": "0"})


def test_what_does_not_go_together() -> None:
    with pytest.raises(InputError, match="resize: short_side crops images"):
        parse({"task": "segmentation", "resize": "short-side"})


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "Infinity"])
def test_numbers_are_finite(text: str) -> None:
    with pytest.raises(InputError, match="learning_rate"):
        parse({"learning_rate": text})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "holds a list"),
        ("3", "holds a number"),
        (r'{"health_action": "stop\ud83d"}', "holds half of a character"),
    ],
)
def test_a_file_that_is_not_one_object(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "hyperparameters.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=f"hyperparameters.json.*{said}"):
        read(path)


def test_bytes_of_a_command_line_that_are_not_utf_8() -> None:
    with pytest.raises(InputError, match=r"must be UTF-8:\s.*health_action"):
        parse({"health_action": b"stop\xff".decode("utf-8", "surrogateescape")})


def test_each_field_is_documented_and_aliases_do_not_clash() -> None:
    assert all(field.description for field in Hyperparameters.model_fields.values())
    listed = [alias for field in Hyperparameters.model_fields.values() for alias in field.json_schema_extra["aliases"]]
    assert len(set(listed)) == len(listed)
    assert not set(listed) & set(Hyperparameters.model_fields)


KNOWN_NAMES = """
accumulate_steps algorithm allow_cpu_fallback architecture augmentation augmentation_type auto_batch_size backbone
bands base_size batch_size beta_1 beta_2 budget cache cache_gb checked_pictures checkpoint_epochs checkpoint_frequency
checkpoint_keep checkpoint_minutes class_crops class_weights clip_grad_norm compile crop_size cutmix data_layout
dropout dropout_rate early_stopping early_stopping_min_epochs early_stopping_patience early_stopping_tolerance
effective_number_beta ema_decay encoder encoder_lr_factor epochs eps epsilon freeze_batch_norm freeze_epochs gamma
gamma1 gamma2 health_action health_thresholds hidden_units ignore_index image_column image_shape image_size int8
int8_tolerance kv_store label_attribute label_column label_smoothing layer_decay learning_rate linear_probe loss lr
lr_scheduler lr_scheduler_factor lr_scheduler_step mask_colors mask_colours mask_orientation mask_threshold max_steps
min_area min_class_count mini_batch_size mixup model momentum multi_label normalization num_classes num_epochs
num_layers num_training_samples num_workers objective objective_metric on_bad_sample openvino optimizer precision
precision_dtype pretrained profile_steps random_resized_crop random_scale recipe report resize resume rmsprop_alpha
sampling scale_learning_rate seed short_side soup steps sync_batch_norm syncbn task tensorboard tensorboard_histograms
test_batch_size top_k train_batch_size train_image_size trimap_border use_pretrained_model use_weighted_loss
validation_batch_size validation_mini_batch_size validation_split warmup_epochs weight_decay workers
"""


def test_the_list_of_hyperparameters_is_frozen() -> None:
    """A name that people use in their jobs does not vanish by accident."""
    assert known_names() == set(KNOWN_NAMES.split())


@given(st.dictionaries(st.sampled_from(sorted(known_names())) | st.text(max_size=12), st.text(max_size=20), max_size=6))
def test_any_strings_are_parsed_or_refused_clearly(raw: dict[str, str]) -> None:
    try:
        parsed = parse(raw)
    except InputError:
        return
    assert Hyperparameters.model_validate_json(parsed.model_dump_json()) == parsed


@given(st.sampled_from(["json", "python", "plain"]), st.integers(1, 1000), st.floats(1e-6, 1), st.booleans())
def test_a_round_trip_through_each_client(client: str, epochs: int, rate: float, stop: bool) -> None:
    write = {"json": json.dumps, "python": repr, "plain": str}[client]
    parsed = parse({"epochs": write(epochs), "learning_rate": write(rate), "early_stopping": write(stop)})
    assert (parsed.epochs, parsed.learning_rate, parsed.early_stopping) == (epochs, rate, stop)


class TestBuiltInAlgorithms:
    def test_their_own_names_are_translated(self) -> None:
        parsed = parse({"num_layers": "50", "image_shape": "3,224,256", "resize": "256", "use_weighted_loss": "1"})
        assert (parsed.model, parsed.image_size, parsed.short_side) == ("resnet50", (224, 256), 256)
        assert parsed.class_weights == "balanced"
        assert parsed.resize is None

    def test_our_resize_is_a_word(self) -> None:
        assert parse({"resize": "letterbox"}).resize == "letterbox"

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("num_layers", "20", "num_layers: a ResNet has 18, 34, 50, 101, 152, 200 layers here"),
            ("image_shape", "224,224", 'image_shape: is "channels, height, width"'),
            ("image_shape", "4,224,224", "image_shape: images have 3 channels, not 4"),
            ("use_weighted_loss", "2", "use_weighted_loss: is 0 or 1"),
        ],
    )
    def test_what_does_not_fit_is_named_as_it_was_written(self, name: str, value: str, said: str) -> None:
        with pytest.raises(InputError) as caught:
            parse({name: value})
        assert said in str(caught.value)
        assert repr(value) in str(caught.value)

    def test_a_model_and_its_depth_must_agree(self) -> None:
        with pytest.raises(InputError, match="num_layers: is another name of model, and their values differ"):
            parse({"model": "resnet18", "num_layers": "50"})

    def test_grey_images_are_allowed_with_a_word(self, caplog: pytest.LogCaptureFixture) -> None:
        assert parse({"image_shape": "1,28,28"}).image_size == (28, 28)
        assert "grey images are read as three equal channels" in caplog.text

    def test_what_no_longer_means_anything_is_said_once(self, caplog: pytest.LogCaptureFixture) -> None:
        assert parse({"kv_store": "dist_sync"}) == Hyperparameters()
        assert caplog.text.count("kv_store has no effect") == 1

    def test_steps_mean_that_the_rate_falls_by_steps(self) -> None:
        assert parse({"lr_scheduler_step": "10, 20"}).lr_scheduler == "step"
        assert parse({"lr_scheduler_step": "10, 20", "lr_scheduler": "poly"}).lr_scheduler == "poly"


@pytest.mark.parametrize(("text", "value"), [("balanced", "balanced"), ("1, 2.5", (1.0, 2.5)), ("[1, 2]", (1.0, 2.0))])
def test_class_weights(text: str, value: object) -> None:
    assert parse({"class_weights": text}).class_weights == value


def test_the_objective_as_tuners_name_it() -> None:
    assert parse({"objective_metric": "validation:f1"}).objective == "f1"


def test_an_encoder_that_would_never_learn() -> None:
    with pytest.raises(InputError, match="freeze_epochs must be less than epochs"):
        parse({"epochs": "3", "freeze_epochs": "3"})


def test_all_that_excludes_each_other_is_named_in_one_message() -> None:
    given = {"task": "segmentation", "mixup": "0.2", "batch_size": "1", "resize": "short_side", "freeze_epochs": "10"}
    with pytest.raises(InputError, match="4 hyperparameters are wrong:") as caught:
        parse(given)
    for said in (
        "resize: short_side crops images",
        "freeze_epochs must be less",
        "set batch_size=2",
        "mix the labels",
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"layer_decay": "0.75", "encoder_lr_factor": "0.1"},
            "layer_decay and encoder_lr_factor both slow",
        ),
        ({"soup": "1"}, "soup: must be greater than or equal to 2"),
        ({"cutmix": "1", "batch_size": "1"}, "mix the images of a batch; set batch_size=2 or more"),
        (
            {"task": "segmentation", "layer_decay": "0.75"},
            "for masks take encoder_lr_factor",
        ),
        ({"task": "segmentation", "random_resized_crop": "0.3"}, "for masks take crop_size and random_scale"),
        (
            {"task": "classification", "mask_threshold": "auto"},
            "mask_threshold and min_area are for masks of two classes",
        ),
        ({"task": "classification", "min_area": "0.1"}, "mask_threshold and min_area are for masks of two classes"),
    ],
)
def test_ingredients_that_exclude_each_other_or_that_a_task_does_not_have(given: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match="A hyperparameter is wrong:") as caught:
        parse(given)
    assert said in str(caught.value)
