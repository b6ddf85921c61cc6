"""The CloudFormation template, deployed on the AWS that moto plays.

moto's CloudFormation makes the repository, the roles, the model and the endpoint (under a name of its own). What it
passes over (the build, scaling, alarms) is made here from the template, through the service's own API, whose shapes
botocore checks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cfnlint.decode import cfn_yaml
from support.moto_server import start_moto

TEMPLATE = Path(__file__).parents[2] / "examples/on_sagemaker/cloudformation.yml"
REGION = "eu-west-1"
ACCOUNT = "123456789012"
# moto imports all of its services on the first call, and what is asked twice is there already.
PATIENT = Config(read_timeout=300, retries={"total_max_attempts": 1})
GIVEN = {
    "Bucket": "images-and-models",
    "SourceLocation": "https://github.com/owner/byoc-vision.git",
    "ModelDataUrl": "s3://images-and-models/cars/output/model.tar.gz",
    "ImageTag": "0.1.0",
    "InstanceType": "ml.g4dn.2xlarge",
    "MaxInstances": "4",
}
# moto knows no such resources, and would have their absence be an error here.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Tried to parse AWS")]


class Stack:
    """A stack on moto, and clients of that AWS."""

    def __init__(self, endpoint: str, name: str, **parameters: str) -> None:
        self.endpoint, self.name, self.parameters = endpoint, name, parameters
        cloudformation = self.client("cloudformation")
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        body = TEMPLATE.read_text(encoding="utf-8")
        rights = ["CAPABILITY_IAM"]
        cloudformation.create_stack(StackName=name, TemplateBody=body, Parameters=given, Capabilities=rights)
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        self.outputs = {entry["OutputKey"]: entry["OutputValue"] for entry in stack["Outputs"]}
        # moto lists what a condition left out without a name.
        made = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self.made = {
            entry["LogicalResourceId"]: entry["PhysicalResourceId"] for entry in made if "LogicalResourceId" in entry
        }

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION, endpoint_url=self.endpoint, config=PATIENT)

    def properties(self, resource: str) -> Any:
        """A resource's properties as AWS would see them."""
        return self.resolved(template()["Resources"][resource]["Properties"])

    def resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.resolved(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        match next(iter(value.items()), None):
            case ("Ref", str(name)):
                return self.named(name)
            case ("Fn::GetAtt", [str(name), "Arn"]):
                return f"arn:aws:iam::{ACCOUNT}:role/{self.named(name)}"
            case ("Fn::Sub", str(text)):
                return re.sub(r"\$\{([^}]+)\}", lambda match: str(self.named(match[1].partition(".")[0])), text)
            case ("Fn::If", [condition, yes, no]):
                absent = condition in ("WithTopic", "WithConnection", "WithVersion")
                return self.resolved(no if absent else yes)
        found = {key: self.resolved(entry) for key, entry in value.items()}
        return {key: entry for key, entry in found.items() if entry is not None}

    def named(self, name: str) -> Any:
        known = {"AWS::StackName": self.name, "AWS::NoValue": None, "Endpoint": self.name, **self.parameters}
        parameter = template()["Parameters"].get(name, {})
        found = known[name] if name in known else parameter.get("Default", self.made.get(name))
        return int(found) if parameter.get("Type") == "Number" else found


def template() -> dict[str, Any]:
    return dict(cfn_yaml.loads(TEMPLATE.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        with start_moto() as address:
            yield address


@pytest.fixture(scope="module")
def stack(aws: str) -> Stack:
    return Stack(aws, "vision", **GIVEN)


def test_the_repository_scans_and_keeps_its_tags(stack: Stack) -> None:
    ecr = stack.client("ecr")
    (repository,) = ecr.describe_repositories(repositoryNames=["byoc-vision"])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert stack.outputs["RepositoryUri"] == repository["repositoryUri"]
    # moto leaves these two aside, and checks the policy where it is put by itself.
    properties = stack.properties("Repository")
    assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
    policy = properties["LifecyclePolicy"]["LifecyclePolicyText"]
    ecr.put_lifecycle_policy(repositoryName="byoc-vision", lifecyclePolicyText=policy)


def test_the_endpoint_runs_the_pushed_image(stack: Stack) -> None:
    sagemaker = stack.client("sagemaker")
    endpoint = sagemaker.describe_endpoint(EndpointName=stack.outputs["EndpointName"])
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    (variant,) = config["ProductionVariants"]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    assert model["PrimaryContainer"]["Image"] == f"{stack.outputs['RepositoryUri']}:0.1.0"
    assert model["PrimaryContainer"]["ModelDataUrl"] == GIVEN["ModelDataUrl"]
    assert model["ExecutionRoleArn"] == stack.outputs["ExecutionRoleArn"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.g4dn.2xlarge", 1)
    assert variant["InferenceAmiVersion"] == "al2023-ami-sagemaker-inference-gpu-4-1"


def test_a_cpu_takes_no_gpu_driver(aws: str) -> None:
    given = GIVEN | {"RepositoryName": "other", "InstanceType": "ml.m5.large"}
    other = Stack(aws, "other", **given)
    sagemaker = other.client("sagemaker")
    config = sagemaker.describe_endpoint(EndpointName=other.outputs["EndpointName"])["EndpointConfigName"]
    (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    assert "InferenceAmiVersion" not in variant


def test_without_a_source_and_a_model_there_are_a_repository_and_a_role(aws: str) -> None:
    bare = Stack(aws, "bare", Bucket="images-and-models", RepositoryName="bare")
    assert set(bare.made) == {"Repository", "ExecutionRole"}
    assert set(bare.outputs) == {"RepositoryUri", "ExecutionRoleArn"}


def test_the_roles_rights_are_for_this_account_and_bucket(stack: Stack) -> None:
    iam = stack.client("iam")
    role = stack.made["ExecutionRole"]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    rights = str(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])
    assert "'arn:aws:s3:::images-and-models/*'" in rights
    assert f"'arn:aws:ecr:{REGION}:{ACCOUNT}:repository/byoc-vision'" in rights
    assert f"'arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/*'" in rights
    trust = json.dumps(iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"])
    assert "sagemaker.amazonaws.com" in trust
    assert ACCOUNT in trust


def test_scaling(stack: Stack) -> None:
    scaling = stack.client("application-autoscaling")
    target = stack.properties("ScalableTarget")
    scaling.register_scalable_target(**target)
    policy = stack.properties("ScalingPolicy")
    place = {name: target[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension")}
    scaling.put_scaling_policy(**policy, **place)
    (found,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (found["ResourceId"], found["MinCapacity"], found["MaxCapacity"]) == (
        "endpoint/vision/variant/AllTraffic",
        1,
        4,
    )


@pytest.mark.parametrize("alarm", ["ErrorAlarm", "LatencyAlarm", "CapacityAlarm"])
def test_alarms(stack: Stack, alarm: str) -> None:
    cloudwatch = stack.client("cloudwatch")
    properties = stack.properties(alarm)
    cloudwatch.put_metric_alarm(**properties)
    (found,) = cloudwatch.describe_alarms(AlarmNames=[properties["AlarmName"]])["MetricAlarms"]
    assert found["AlarmName"].startswith("vision-")
    assert "${" not in json.dumps(properties)
    assert {"Name": "EndpointName", "Value": "vision"} in dimensions(properties)


def dimensions(alarm: dict[str, Any]) -> list[dict[str, str]]:
    stats = [entry["MetricStat"]["Metric"]["Dimensions"] for entry in alarm.get("Metrics", []) if "MetricStat" in entry]
    return list(alarm.get("Dimensions") or stats[0])


def test_the_build_is_privileged_and_pushes_to_the_repository(stack: Stack) -> None:
    build = stack.client("codebuild")
    project = lower_camel(stack.properties("Build"))
    build.create_project(**project)
    (found,) = build.batch_get_projects(names=["vision"])["projects"]
    assert found["environment"]["privilegedMode"]
    assert found["environment"]["environmentVariables"] == [{"name": "IMAGE", "value": "byoc-vision"}]
    assert found["source"]["location"] == GIVEN["SourceLocation"]


def lower_camel(value: Any) -> Any:
    """CodeBuild's API writes the template's names with a small letter."""
    if isinstance(value, list):
        return [lower_camel(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {key[0].lower() + key[1:]: lower_camel(entry) for key, entry in value.items()}
