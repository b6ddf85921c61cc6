"""examples/on_sagemaker with boto3: every step against an AWS on this machine, and nothing is left of it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import numpy as np
import pytest
from PIL import Image
from support.api_model import api_of
from support.aws import BUCKET, IMAGE, LOG, ROLE, Aws, ctrl_c_after
from support.images import draw_scene, save_image
from support.servers import start_standin

from byoc_vision.data.sample_data import make_segmentation_set
from byoc_vision.describe.metrics import metric_definitions
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.recipe import recipe_of
from byoc_vision.describe.tuning import as_metrics, as_request

EXAMPLES = Path(__file__).resolve().parents[3] / "examples/on_sagemaker"
MODEL = f"s3://{BUCKET}/elsewhere/model.tar.gz"


@pytest.fixture
def model(aws: Aws) -> str:
    """An archive that is in S3 already."""
    aws.client("s3").put_object(Bucket=BUCKET, Key="elsewhere/model.tar.gz", Body=b"a model")
    return MODEL


def test_one_run_trains_serves_in_every_way_and_leaves_nothing(
    launch: Callable[..., None], aws: Aws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = ("deploy", "serverless", "async", "multi-model", "transform")
    launch("train", *serving, "--yes", "--longest-job=600", "epochs=3")
    said = capsys.readouterr().out
    assert said.index("ml.g5.xlarge, spot, 10 minutes") < said.index("== train"), "what it costs is said first"
    for line in (LOG[0], LOG[-1], "InProgress, Downloading", "Completed"):
        assert line in said
    assert said.count("answer: bright 100.0 %") == 5
    for step in serving:
        assert (tmp_path / "out" / f"{step}.png").stat().st_size
    assert (tmp_path / "out/model.tar.gz").read_bytes() == b"a model"
    assert (tmp_path / "out/output.tar.gz").read_bytes() == b"a report"
    assert aws.resources() == []
    assert list((tmp_path / "out").glob("created*")) == []
    assert aws.runtime.seen[-1].headers["X-Amzn-SageMaker-Target-Model"] == "first.tar.gz"
    assert {variant.get("InferenceAmiVersion") for variant in variants(aws)} == {
        None,
        "al2023-ami-sagemaker-inference-gpu-4-1",
    }

    assert_trained_on_spot_instances(aws.asked("CreateTrainingJob"))
    assert_instances_exist(aws)


def assert_trained_on_spot_instances(job: dict[str, Any]) -> None:
    """With checkpoints, and time to wait for instances."""
    assert job["EnableManagedSpotTraining"] is True
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1200}
    assert job["Environment"] == {"BYOC_MAX_RUNTIME_SECONDS": "600"}
    assert job["CheckpointConfig"]["S3Uri"].startswith(f"s3://{BUCKET}/byoc-vision-")
    assert job["CheckpointConfig"]["S3Uri"].endswith("/checkpoints/")
    assert job["HyperParameters"] == {"task": "classification", "epochs": "3"}
    assert job["AlgorithmSpecification"]["TrainingInputMode"] == "FastFile"
    assert job["AlgorithmSpecification"]["MetricDefinitions"] == as_metrics(metric_definitions("classification"))
    train, validation = (channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in job["InputDataConfig"])
    assert (train[-7:], validation[-12:]) == ("/train/", "/validation/"), "train would also match train_annotation"


def variants(aws: Aws) -> list[dict[str, Any]]:
    return [asked["ProductionVariants"][0] for name, asked in aws.calls if name == "CreateEndpointConfig"]


def assert_instances_exist(aws: Aws) -> None:
    """Each for what it is used for. botocore does not look."""
    shapes = api_of("sagemaker")["shapes"]
    used = {
        "TrainingInstanceType": {aws.asked("CreateTrainingJob")["ResourceConfig"]["InstanceType"]},
        "ProductionVariantInstanceType": {it["InstanceType"] for it in variants(aws) if "InstanceType" in it},
        "TransformInstanceType": {aws.asked("CreateTransformJob")["TransformResources"]["InstanceType"]},
    }
    for kind, instances in used.items():
        assert instances <= set(shapes[kind]["enum"]), kind


def test_masks_come_home_and_are_drawn(
    launch: Callable[..., None], aws: Aws, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_standin(tmp_path / "log", environment={"STANDIN_MASKS": "1"}) as server:
        server.pings_until(200)
        monkeypatch.setattr(aws, "server", server.url)
        launch("deploy", "transform", "--yes", model=model, recipe="segmentation")
    for step in ("deploy", "transform"):
        assert (np.asarray(Image.open(tmp_path / f"out/{step}.mask.png")) == 255).all(), "all of the image is bright"
        assert (np.asarray(Image.open(tmp_path / f"out/{step}.png")) != 255).any(), "and the mask is drawn over it"


def test_a_search_is_what_describe_says(
    launch: Callable[..., None], aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    launch("tune", "--yes", "--jobs=7", "--parallel-jobs=3", "--no-spot", "model=resnet18")
    search = aws.asked("CreateHyperParameterTuningJob")
    recipe = recipe_of({"task": "classification", "model": "resnet18"})
    expected = as_request(search_space(recipe), metric_definitions("classification"), 7, 3)
    assert search["HyperParameterTuningJobConfig"] == expected["HyperParameterTuningJobConfig"]
    definition = search["TrainingJobDefinition"]
    assert definition["StaticHyperParameters"] == expected["TrainingJobDefinition"]["StaticHyperParameters"]
    assert definition["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    assert definition["AlgorithmSpecification"]["MetricDefinitions"]
    assert "CheckpointConfig" not in definition, "one job would go on from another's"
    assert definition["EnableManagedSpotTraining"] is False
    assert definition["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert definition["Environment"] == {"BYOC_MAX_RUNTIME_SECONDS": "3600"}
    assert len(search["HyperParameterTuningJobName"]) <= 32
    assert f"best job: {search['HyperParameterTuningJobName']}-001" in capsys.readouterr().out
    assert aws.resources() == []


@pytest.mark.parametrize(
    ("operation", "steps"),
    [
        ("CreateTrainingJob", ["train"]),
        ("CreateEndpoint", ["train", "deploy"]),
        ("CreateTransformJob", ["train", "deploy", "transform"]),
    ],
)
def test_a_step_that_fails_leaves_nothing(
    launch: Callable[..., None], aws: Aws, operation: str, steps: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    aws.failing.add(operation)
    with pytest.raises(SystemExit, match=rf"error: {operation}: .*limit is 0\nrequest a larger quota") as ended:
        launch(*steps, "--yes")
    assert str(ended.value).count("\n") == 1, "two lines, and no traceback"
    assert aws.resources() == []
    said = capsys.readouterr().err
    assert said.endswith("/\n")
    assert "deleted folder s3://" in said


def test_what_is_kept_is_deleted_later(
    launch: Callable[..., None], aws: Aws, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launch("deploy", "--yes", "--keep", model=model)
    kept = aws.resources()
    assert [entry.split()[0] for entry in kept[:3]] == ["EndpointName", "EndpointConfigName", "ModelName"]
    assert [file.name for file in sorted((tmp_path / "out").glob("created*"))] == [
        "created-0-files.json",
        "created-1-deploy.json",
    ]
    launch("delete")
    assert aws.resources() == [model], "it was there before"
    said = capsys.readouterr().out
    assert re.search(r"deleted all \d+ resources that .*/created-\*\.json listed", said)
    launch("delete")  # again: nothing is there, and nothing is wrong
    assert "nothing to delete: " in capsys.readouterr().out


def test_ctrl_c_stops_the_job_and_deletes_its_files(
    launch: Callable[..., None], aws: Aws, session: boto3.Session, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.endless = True
    with ctrl_c_after(session, "DescribeTrainingJob"), pytest.raises(KeyboardInterrupt):
        launch("train", "--yes")
    assert "StopTrainingJob" in dict(aws.calls)
    said = capsys.readouterr().err
    assert said.index("deleted training job byoc-vision-") < said.index("deleted folder s3://"), "it writes there"
    assert aws.resources() == []


def test_nothing_starts_before_the_costs_are_agreed_to(launch: Callable[..., None], aws: Aws) -> None:
    with pytest.raises(SystemExit, match="Nothing was started"):
        launch("train", "deploy")
    assert {operation for operation, _ in aws.calls} <= {"ListTrainingJobs", "DescribeTrainingJob"}
    assert aws.resources() == []


def test_deleting_goes_backwards_and_on_where_something_resists(
    aws: Aws, created: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "created.json"
    client = boto3.Session().client("sagemaker")
    aws.failing.add("DeleteModel")

    def make_all() -> None:
        with make(created, file) as made:
            make_model(made)
            variant = {
                "VariantName": "all",
                "ModelName": "cars",
                "InstanceType": "ml.c5.large",
                "InitialInstanceCount": 1,
            }
            config = made.endpoint_config("cars")
            client.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])
            client.create_endpoint(EndpointName=made.endpoint("cars"), EndpointConfigName=config)
            made.endpoint("never-made")

    with pytest.raises(created.LeftBehindError, match=r"model cars: .*limit is 0") as left:
        make_all()
    assert str(file) in str(left.value)
    assert [line.split()[1:] for line in capsys.readouterr().err.splitlines()] == [
        ["endpoint", "never-made"],
        ["endpoint", "cars"],
        ["endpoint", "config", "cars"],
    ]
    assert aws.resources() == ["ModelName cars"]
    aws.failing.clear()
    make(created, file).delete()  # what a later run finds written down
    assert aws.resources() == []
    assert not file.exists()


def make(created: ModuleType, file: Path | None = None) -> Any:
    return created.Created(boto3.Session(), file)


def make_model(made: Any) -> None:
    container = {"Image": IMAGE}
    boto3.Session().client("sagemaker").create_model(
        ModelName=made.model("cars"), ExecutionRoleArn=ROLE, PrimaryContainer=container
    )


def test_an_error_in_the_block_is_raised_before_those_of_deleting(aws: Aws, created: ModuleType) -> None:
    aws.failing.add("DeleteModel")

    def fail() -> None:
        with make(created) as made:
            make_model(made)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert aws.resources() == ["ModelName cars"]


def test_sigterm_deletes_too_and_what_is_deleted_cannot_be_disturbed(aws: Aws, created: ModuleType) -> None:
    before = signal.getsignal(signal.SIGTERM)
    created.DELETERS["disturbance"] = lambda client, name: os.kill(os.getpid(), signal.SIGINT)
    made = make(created)

    def be_ended() -> None:
        with made:
            made.add("disturbance", "Ctrl-C while deleting")
            made.folder(f"s3://{BUCKET}/run")
            boto3.Session().client("s3").put_object(Bucket=BUCKET, Key="run/file", Body=b"1")
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        be_ended()
    assert ended.value.code == 128 + signal.SIGTERM
    assert made.resources == []
    assert aws.resources() == []
    assert signal.getsignal(signal.SIGTERM) is before
    del created.DELETERS["disturbance"]


def test_of_a_bucket_only_the_folder_goes_with_all_its_versions(aws: Aws, created: ModuleType) -> None:
    client = boto3.Session().client("s3")
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for key in ("run/a", "run/a", "run-2/b"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"1")
    with make(created) as made:
        made.bucket(BUCKET)
        made.bucket("never-made")
        made.folder(f"s3://{BUCKET}/run")
        with pytest.raises(ValueError, match="whole bucket"):
            made.folder(f"s3://{BUCKET}/")
    assert [version["Key"] for version in client.list_object_versions(Bucket=BUCKET)["Versions"]] == ["run-2/b"]


PASTED = [
    line
    for page in (EXAMPLES / "README.md", EXAMPLES.parents[1] / "README.md")
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
    if "boto3_only.py" in line
]


@pytest.mark.parametrize("line", PASTED)
def test_what_is_pasted_from_the_pages_is_understood(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAGEMAKER_ROLE", ROLE)
    (tmp_path / "my_images").mkdir()
    make_segmentation_set(tmp_path / "images/segmentation", count_train=1, count_validation=1)
    save_image(tmp_path / "image.jpg", draw_scene(1)[0])
    _, script, *words = shlex.split(line.replace("$IMAGE_URI", IMAGE).replace("$BUCKET", BUCKET))
    monkeypatch.setattr(sys, "argv", [script, *words])
    options = import_module("options").read_options(None)
    assert set(options.steps) & {"train", "tune", "delete"}
