"""The policy for the callers of the launch scripts holds the actions that they need, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.aws import Aws, ctrl_c_after

POLICY = Path(__file__).resolve().parents[3] / "examples/on_sagemaker/caller_policy.json"

# S3's actions are named after permissions, not after calls; others are named as they are called.
# Source: the service authorization reference, "Actions, resources, and condition keys for Amazon S3".
S3_ACTIONS = {
    "CopyObject": {"s3:GetObject", "s3:PutObject"},
    "CreateBucket": {"s3:CreateBucket"},
    "DeleteObjects": {"s3:DeleteObject", "s3:DeleteObjectVersion"},
    "GetObject": {"s3:GetObject"},
    "HeadBucket": {"s3:ListBucket"},
    "HeadObject": {"s3:GetObject"},
    "ListObjectVersions": {"s3:ListBucketVersions"},
    "ListObjectsV2": {"s3:ListBucket"},
    "PutObject": {"s3:PutObject"},
}
WITHOUT_A_CALL = {
    "iam:PassRole",  # SageMaker gets the role with the request
    "s3:AbortMultipartUpload",  # of files above 8 MB, when it is interrupted
}


@pytest.fixture
def actions(aws: Aws, session: boto3.Session) -> Iterator[set[str]]:
    """Those of all calls that boto3 makes from now on, whatever the client."""
    seen: set[str] = set()

    def record(model: Any, **_: Any) -> None:
        service = model.service_model.signing_name
        if service == "s3":
            seen.update(S3_ACTIONS[model.name])
        else:
            seen.add(f"{service}:{model.name}")

    session.events.register("before-call", record)
    yield seen
    session.events.unregister("before-call", record)


def statements() -> list[dict[str, Any]]:
    return list(json.loads(POLICY.read_text(encoding="utf-8"))["Statement"])


@pytest.mark.slow
def test_the_policy_is_what_the_scripts_call(
    launch: Callable[..., None], aws: Aws, session: boto3.Session, actions: set[str]
) -> None:
    launch("train", "deploy", "serverless", "async", "multi-model", "transform", "--yes")
    launch("tune", "deploy", "--yes", bucket=None)
    # Another name: there are no earlier jobs that would be described for the estimate.
    interrupt(launch, aws, session, ("train",), "DescribeTrainingJob", name="interrupted")
    interrupt(launch, aws, session, ("tune",), "DescribeHyperParameterTuningJob")
    aws.client("s3").put_object(Bucket="pictures-of-cars", Key="model.tar.gz", Body=b"a model")
    interrupt(launch, aws, session, ("transform",), "DescribeTransformJob", model="s3://pictures-of-cars/model.tar.gz")
    allowed = {action for statement in statements() for action in statement["Action"]}
    assert allowed - WITHOUT_A_CALL == actions


def interrupt(
    launch: Callable[..., None],
    aws: Aws,
    session: boto3.Session,
    steps: tuple[str, ...],
    operation: str,
    **options: Any,
) -> None:
    """Jobs are stopped then."""
    aws.endless = True
    with ctrl_c_after(session, operation), pytest.raises(KeyboardInterrupt):
        launch(*steps, "--yes", **options)
    aws.endless = False


def test_actions_are_whole_and_resources_narrow() -> None:
    """All resources only where AWS has no narrower ones."""
    for statement in statements():
        assert not [action for action in statement["Action"] if "*" in action]
        if statement["Resource"] == "*":
            assert statement["Sid"] in ("Account", "Logs", "List")
    (role,) = [statement for statement in statements() if "iam:PassRole" in statement["Action"]]
    assert role["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
