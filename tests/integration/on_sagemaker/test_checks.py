"""What keeps a launch script from starting: one or two lines with the remedy, before anything is uploaded or paid."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.aws import BUCKET, IMAGE, KEYS, REGION, ROLE, Aws

EXAMPLES = Path(__file__).resolve().parents[3] / "examples/on_sagemaker"
REPOSITORY = IMAGE.rpartition(":")[0]
Launch = Callable[..., None]


@pytest.fixture
def refused(launch: Launch, aws: Aws, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run a script whose checks fail: the lines of the failed ones. Nothing was started, and nothing uploaded."""

    def refused(*words: str, **others: Any) -> list[str]:
        before = aws.resources()
        with pytest.raises(SystemExit, match="Nothing was started"):
            launch(*(words or ("train",)), "--yes", **others)
        assert aws.resources() == before
        assert aws.calls == []
        found: list[str] = []
        for line in capsys.readouterr().out.splitlines()[1:]:
            name, state, *_ = [*line.split(maxsplit=2), "", ""]
            inside = line.startswith(" " * 10)
            if (inside and found) or (state == "failed" and not inside):
                found.append(line.strip() if inside else line.split(maxsplit=2)[2])
            assert inside or state in ("ok", "note", "failed"), name
        return found

    return refused


def test_what_was_checked_is_shown(launch: Launch, capsys: pytest.CaptureFixture[str]) -> None:
    launch("train", "deploy", "transform", "--yes")
    said = capsys.readouterr().out
    checked = said.partition("This is what you will pay for")[0]
    for line in (
        "identity  ok      arn:aws:",
        f"region    ok      {REGION}, from AWS_REGION",
        f"bucket    ok      {BUCKET}, in {REGION}",
        "role      ok      sagemaker, which SageMaker can assume",
        "image     ok      byoc-vision:1, pushed 20",
        "quota     ok      ml.g5.xlarge for spot training job usage: 1 of 2",
        "quota     ok      ml.g4dn.xlarge for endpoint usage: 1 of 1",
        "quota     ok      ml.c7i.xlarge for transform job usage: 1 of 1",
        "data      ok      classification: 4 train, 4 validation images, 2 classes",
    ):
        assert line in checked


def test_no_such_bucket(refused: Callable[..., list[str]]) -> None:
    assert refused(bucket="no-such-bucket") == [
        f"there is not a bucket no-such-bucket; `aws s3 mb s3://no-such-bucket --region {REGION}` creates it"
    ]


def test_a_bucket_of_another_account(refused: Callable[..., list[str]], aws: Aws) -> None:
    aws.forbidden.add("HeadBucket")
    assert refused() == [f"{BUCKET}: access denied; it belongs to another account, or s3:ListBucket is missing"]


def test_a_bucket_in_another_region(refused: Callable[..., list[str]], aws: Aws) -> None:
    where = "ap-southeast-2"
    client = boto3.client("s3", region_name=where, endpoint_url=aws.moto)
    client.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": where})
    assert refused(bucket="far-away") == [
        f"far-away is in ap-southeast-2, but the job would run in {REGION}; "
        f"name a bucket in {REGION}, or use --region ap-southeast-2 and an image there"
    ]


def test_a_role_that_is_missing_or_foreign_or_untrusting(refused: Callable[..., list[str]], aws: Aws) -> None:
    missing = refused(role="arn:aws:iam::123456789012:role/no-such")
    assert missing == ["there is not a role no-such; examples/on_sagemaker/cloudformation.md creates one"]
    (foreign,) = refused(role="arn:aws:iam::210987654321:role/sagemaker")
    assert foreign.endswith("but the caller to 123456789012; name a role of 123456789012")
    trust = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}}]}'
    )
    aws.client("iam").create_role(RoleName="ec2", AssumeRolePolicyDocument=trust)
    (untrusting,) = refused(role="arn:aws:iam::123456789012:role/ec2")
    assert untrusting.startswith("ec2: SageMaker cannot assume it; allow sts:AssumeRole to sagemaker.amazonaws.com")


def test_an_image_that_is_missing_or_far_away_or_local(refused: Callable[..., list[str]]) -> None:
    (tag,) = refused(image=f"{REPOSITORY}:2")
    assert tag.startswith("the repository byoc-vision does not have 2; `aws ecr list-images")
    (repository,) = refused(image=f"{REPOSITORY}s:1")
    assert repository.startswith("there is not a repository byoc-visions in eu-west-1; `make build push` creates it")
    (far,) = refused(image=IMAGE.replace(REGION, "us-east-1"))
    assert far.endswith("but the job would run in eu-west-1; use --region us-east-1, or push the image with "
                        "`make push AWS_REGION=eu-west-1`")  # fmt: skip
    (local,) = refused(image="byoc-vision:latest")
    assert local == "byoc-vision:latest is not in ECR; `make build push` prints the URI for --image or IMAGE_URI"


def test_a_quota_of_0_or_too_small_a_one(refused: Callable[..., list[str]], aws: Aws) -> None:
    aws.quotas["ml.g5.xlarge for spot training job usage"] = 0
    none, request = refused("train")
    assert none.startswith("ml.g5.xlarge for spot training job usage: 0, but the run needs 1; --no-spot")
    assert request.startswith(
        "aws service-quotas request-service-quota-increase --service-code sagemaker --quota-code L-"
    )
    small, _ = refused("tune", "--no-spot", "--parallel-jobs=5")
    assert small.startswith("ml.g5.xlarge for training job usage: 4, but the run needs 5")


def test_a_model_that_is_missing(refused: Callable[..., list[str]]) -> None:
    (missing,) = refused("deploy", model=f"s3://{BUCKET}/model.tar.gz")
    assert missing.startswith(f"there is not a file s3://{BUCKET}/model.tar.gz; `aws s3 ls s3://{BUCKET}/ --recursive`")


def test_bad_data_and_a_recipe_that_does_not_fit_them(refused: Callable[..., list[str]], tmp_path: Path) -> None:
    (classes,) = refused("train", "num_classes=7")
    assert classes.startswith("Your input: num_classes is 7, but the data have 2 classes (coat, hat)")
    assert refused("train", "num_training_samples=9") == ["num_training_samples=9, but there are 4; leave it out"]
    file = tmp_path / "train/hat/0.jpg"
    file.write_bytes(file.read_bytes()[:200])
    assert "train/hat/0.jpg" in " ".join(refused("train"))


def test_all_that_failed_is_shown_at_once(refused: Callable[..., list[str]]) -> None:
    assert len(refused("train", "num_classes=7", bucket="no-such-bucket", image="byoc-vision:latest")) >= 3


def test_what_the_caller_may_not_see_is_a_note(launch: Launch, aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.forbidden |= {"GetRole", "DescribeImages", "ListServiceQuotas", "ListTrainingJobs"}
    launch("train", "--yes")
    said = capsys.readouterr().out
    assert "role      note    sagemaker: not checked, because iam:GetRole is not allowed" in said
    assert f"image     note    {IMAGE}: not checked, because ecr:DescribeImages is not allowed" in said
    assert "quota     note    not checked, because servicequotas:ListServiceQuotas is not allowed" in said
    assert "Completed" in said


def test_a_channel_that_no_job_reads_and_images_that_are_not_read_here(
    launch: Launch, arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    channels = [*arguments["channel"], f"train_extra={tmp_path / 'train'}"]
    launch("train", "--yes", channel=channels)
    assert "data      note    channel train_extra: a job reads no channel of this name" in capsys.readouterr().out
    launch("train", "--yes", "--no-check")
    assert "data      note    not read on this machine: --no-check" in capsys.readouterr().out


def test_the_speed_of_an_earlier_job_makes_an_estimate(
    launch: Launch, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    launch("train", "--yes", "--name=cars", "epochs=61")
    assert "Expected: not known" in capsys.readouterr().out
    launch("train", "--yes", "--name=cars", "--price-per-hour=2", "epochs=61")
    said = capsys.readouterr().out
    assert "Expected: 1 min (4 images × 61 epochs at 61 images/s, from an earlier job), 0.00 USD" in said
    launch("train", "--yes", "--name=cars", "epochs=61", "image_size=64")
    assert "Expected: not known" in capsys.readouterr().out, "another size has another speed"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "error: no AWS credentials: `aws configure`"),
        ({"AWS_PROFILE": "wrok"}, "error: AWS_PROFILE: The config profile (wrok) could not be found; `aws configure"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "error: AWS cannot be reached: "),
        ({"AWS_REGION": None, "AWS_DEFAULT_REGION": None, "IMAGE_URI": "byoc-vision:latest"}, "no region: export AWS"),
    ],
)
def test_without_an_account(aws: Aws, tmp_path: Path, environment: dict[str, str | None], said: str) -> None:
    """The script itself, as it is pasted: a traceback would be in what it prints."""
    (tmp_path / "train").mkdir()
    nowhere = {name: str(tmp_path / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    given = {**os.environ, **KEYS, "IMAGE_URI": IMAGE, "AWS_ENDPOINT_URL": aws.url, **nowhere, **environment}
    given |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
    done = subprocess.run(
        [
            sys.executable,
            EXAMPLES / "boto3_only.py",
            *("train", "--yes", f"--role={ROLE}", f"--bucket={BUCKET}", f"--channel=train={tmp_path / 'train'}"),
        ],
        env={name: value for name, value in given.items() if value is not None},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) <= 2
    assert aws.calls == []
