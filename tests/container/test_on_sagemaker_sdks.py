"""examples/on_sagemaker with both SDKs: what local mode cannot do, against the AWS of support/aws.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.api_model import problems
from support.aws import BUCKET, IMAGE, KEYS, ROLE, Aws, start_aws
from support.containers import REPOSITORY
from support.images import draw_scene, save_image
from support.servers import save_segmenter, start

pytestmark = pytest.mark.slow

MODEL = f"s3://{BUCKET}/elsewhere/model.tar.gz"
AMI = "al2023-ami-sagemaker-inference-gpu-4-1"

# SDK v3 has IAM try whether the role may do all it must, and moto does not.
OTHERS = {"PYTHONPATH": str(REPOSITORY / "src"), "SAGEMAKER_VALIDATE_ROLE": "false"}

Run = Callable[..., str]


@pytest.fixture(scope="module")
def whole_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """Behind every endpoint is a real server, with a U-Net that has learnt nothing."""
    folder = tmp_path_factory.mktemp("server")
    save_segmenter(folder / "model")
    with start(folder, folder / "log") as server:
        server.pings_until(200)
        with start_aws(server.url, {"model.tar.gz": b"a model", "output.tar.gz": b"a report"}) as aws:
            yield aws


@pytest.fixture
def aws(whole_aws: Aws) -> Aws:
    whole_aws.reset()
    whole_aws.at_once = True  # the SDKs look again after half a minute
    whole_aws.client("s3").put_object(Bucket=BUCKET, Key="elsewhere/model.tar.gz", Body=b"a model")
    return whole_aws


@pytest.fixture
def image(tmp_path: Path) -> Path:
    save_image(tmp_path / "car.png", draw_scene(1)[0])
    return tmp_path / "car.png"


@pytest.fixture
def launch(aws: Aws, image: Path, tmp_path: Path) -> Run:
    """Run a script to its end: launch(2, "train", …); returns what it said."""
    for number in range(4):
        pixels, inside = draw_scene(number)
        save_image(tmp_path / "train" / f"{number}.png", pixels)
        save_image(tmp_path / "train_annotation" / f"{number}.png", np.where(inside, np.uint8(255), np.uint8(0)))

    def launch(version: int, *words: str) -> str:
        python = REPOSITORY / f".venv-sdk{version}/bin/python"
        assert python.exists(), f"{python} is missing: `make sdk-clients` makes it"
        options = {"image": IMAGE, "role": ROLE, "bucket": BUCKET, "picture": image, "output": tmp_path / "out"}
        channels = [f"--channel={name}={tmp_path / name}" for name in ("train", "train_annotation")]
        done = subprocess.run(
            [
                python,
                REPOSITORY / f"examples/on_sagemaker/sdk_v{version}.py",
                *words,
                "--yes",
                *channels,
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            env={**os.environ, **KEYS, "AWS_ENDPOINT_URL": aws.url, **OTHERS},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(done.stdout)
        assert done.returncode == 0
        return done.stdout

    return launch


def mask_of(tmp_path: Path, step: str) -> np.ndarray:
    with (
        Image.open(tmp_path / "out" / f"{step}.png") as drawn,
        Image.open(tmp_path / "out" / f"{step}.mask.png") as mask,
    ):
        assert drawn.size == mask.size
        return np.array(mask)


@pytest.mark.parametrize("version", [2, 3])
def test_a_job_on_spot_instances(launch: Run, aws: Aws, version: int, tmp_path: Path) -> None:
    said = launch(version, "train", "epochs=3", "encoder=resnet18")
    asked = aws.asked("CreateTrainingJob")
    assert asked["HyperParameters"] == {"task": "segmentation", "epochs": "3", "encoder": "resnet18"}
    assert asked["EnableManagedSpotTraining"] is True
    assert asked["StoppingCondition"]["MaxWaitTimeInSeconds"] == 2 * asked["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert asked["Environment"]["BYOC_MAX_RUNTIME_SECONDS"] == str(asked["StoppingCondition"]["MaxRuntimeInSeconds"])
    assert asked["CheckpointConfig"]["S3Uri"].endswith("/checkpoints/")
    assert asked["AlgorithmSpecification"]["TrainingInputMode"] == "FastFile"
    regexes = {entry["Name"]: entry["Regex"] for entry in asked["AlgorithmSpecification"]["MetricDefinitions"]}
    assert re.search(regexes["validation:dice"], "epoch=1 train:loss=1e-05 validation:dice=0.9")
    addresses = {c["ChannelName"]: c["DataSource"]["S3DataSource"]["S3Uri"] for c in asked["InputDataConfig"]}
    assert {name: address.rpartition("channels")[2] for name, address in addresses.items()} == {
        "train": "/train/",
        "train_annotation": "/train_annotation/",
    }
    assert not {channel.get("InputMode", "FastFile") for channel in asked["InputDataConfig"]} - {"FastFile"}
    assert (tmp_path / "out/model.tar.gz").read_bytes() == b"a model"
    assert (tmp_path / "out/output.tar.gz").read_bytes() == b"a report"
    assert "1 × ml.g5.xlarge, spot, 60 minutes at the most" in said
    assert re.search(r"^ +epoch +train:loss +validation:loss", said, re.MULTILINE), "the log is a table"
    assert problems("sagemaker", "CreateTrainingJob", asked) == []
    check_that_nothing_is_left(aws)


@pytest.mark.parametrize("version", [2, 3])
def test_a_search(launch: Run, aws: Aws, version: int, tmp_path: Path) -> None:
    words = ("--warm-start=earlier", "--patience=3", "--no-early-stopping", "--metric=dice", "--metric=miou")
    said = launch(version, "tune", "--jobs=4", *words, "encoder=resnet18")
    asked = aws.asked("CreateHyperParameterTuningJob")
    config, definition = asked["HyperParameterTuningJobConfig"], asked["TrainingJobDefinition"]
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Maximize", "MetricName": "validation:dice"}
    assert config["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 4
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    criteria = config["TuningJobCompletionCriteria"]["BestObjectiveNotImproving"]
    assert criteria == {"MaxNumberOfTrainingJobsNotImproving": 3}
    assert asked["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "earlier"}],
        "WarmStartType": "TransferLearning",
    }
    assert problems("sagemaker", "CreateHyperParameterTuningJob", asked) == []
    (rate,) = [
        entry for entry in config["ParameterRanges"]["ContinuousParameterRanges"] if entry["Name"] == "learning_rate"
    ]
    assert rate["ScalingType"] == "Logarithmic"
    assert float(rate["MinValue"]) < float(rate["MaxValue"])
    (encoders,) = [
        entry["Values"]
        for entry in config["ParameterRanges"]["CategoricalParameterRanges"]
        if entry["Name"] == "encoder"
    ]
    assert "resnet18" in [encoder.strip('"') for encoder in encoders]
    assert definition["StaticHyperParameters"]["task"] == "segmentation"
    assert "validation:dice" in [m["Name"] for m in definition["AlgorithmSpecification"]["MetricDefinitions"]]
    assert definition["EnableManagedSpotTraining"] is True
    assert "CheckpointConfig" not in definition
    assert re.search(r"^best job: \S+-001 with ", said, re.MULTILINE)
    assert (tmp_path / "out/model.tar.gz").read_bytes() == b"a model"
    check_that_nothing_is_left(aws)


@pytest.mark.parametrize("version", [2, 3])
def test_every_way_to_serve(launch: Run, aws: Aws, version: int, tmp_path: Path) -> None:
    steps = ("deploy", "serverless", "async", "multi-model", "transform")
    launch(version, *steps, f"--model={MODEL}")
    configs = {
        step: next(
            asked for name, asked in aws.calls if name == "CreateEndpointConfig" and step in asked["EndpointConfigName"]
        )
        for step in steps[:-1]
    }
    variants = {step: config["ProductionVariants"][0] for step, config in configs.items()}
    assert variants["deploy"]["InstanceType"] == "ml.g4dn.xlarge"
    assert variants["deploy"]["InferenceAmiVersion"] == AMI, "its GPU has an old driver otherwise"
    assert variants["serverless"]["ServerlessConfig"] == {"MemorySizeInMB": 4096, "MaxConcurrency": 1}
    assert "InferenceAmiVersion" not in variants["async"], "there is no GPU"
    assert configs["async"]["AsyncInferenceConfig"]["OutputConfig"].keys() >= {"S3OutputPath", "S3FailurePath"}
    models = {asked["ModelName"]: asked["PrimaryContainer"] for name, asked in aws.calls if name == "CreateModel"}
    (several,) = [container for name, container in models.items() if "multi-model" in name]
    assert several["Mode"] == "MultiModel"
    assert several["ModelDataUrl"].endswith("/models/")
    assert {container["Image"] for container in models.values()} == {IMAGE}
    transform = aws.asked("CreateTransformJob")
    assert transform["BatchStrategy"] == "SingleRecord"
    assert transform["TransformOutput"]["Accept"] == "image/png"
    answers = [mask_of(tmp_path, step) for step in steps]
    assert all(np.array_equal(answers[0], answer) for answer in answers[1:]), "one model, one answer"
    check_that_nothing_is_left(aws)


@pytest.mark.parametrize(("version", "name"), [(2, "segmentation"), (3, "classification")])
def test_the_channels_of_a_notebook_end_with_a_slash(aws: Aws, tmp_path: Path, version: int, name: str) -> None:
    """Its own cell, with the session of its SDK: S3 matches prefixes, and `train` is one of `train_annotation`."""
    cells = json.loads((REPOSITORY / f"examples/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    source = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (cell,) = [text for text in source if "def channel(" in text]
    # The SDKs ask the real STS for the name of the default bucket, whatever AWS_ENDPOINT_URL says.
    program = f"{source[0]}\nsession = type(session)(default_bucket={BUCKET!r})\n" + cell.partition("\n\n\n")[0]
    program += "\nfound = channel('train', Path('train'))\nprint('uri', getattr(found, 'data_source', found))\n"
    save_image(tmp_path / "train/1.png", draw_scene(1)[0])
    done = subprocess.run(
        [REPOSITORY / f".venv-sdk{version}/bin/python", "-c", program],
        env={**os.environ, **KEYS, "AWS_ENDPOINT_URL": aws.url, **OTHERS, "IMAGE_URI": IMAGE, "ROLE": ROLE},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert IMAGE in done.stdout
    assert re.search(rf"^uri s3://{BUCKET}/byoc-vision-{name}/pictures/train/$", done.stdout, re.MULTILINE)
    assert [uri.rpartition("/pictures/")[2] for uri in aws.resources() if "pictures/" in uri] == ["train/1.png"]


def check_that_nothing_is_left(aws: Aws) -> None:
    assert aws.resources() == [f"s3://{BUCKET}/elsewhere/model.tar.gz"]
