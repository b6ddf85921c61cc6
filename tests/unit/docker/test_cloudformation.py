"""The CloudFormation template: what cfn-lint says of it, and its rights. tests/container deploys it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file
from cfnlint.decode import cfn_yaml

TEMPLATE = Path(__file__).parents[3] / "examples/on_sagemaker/cloudformation.yml"


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return dict(cfn_yaml.loads(TEMPLATE.read_text(encoding="utf-8"))["Resources"])


@pytest.fixture(scope="module")
def statements(resources: dict[str, Any]) -> list[dict[str, Any]]:
    """The rights of all roles."""
    return list(rights(resources))


def rights(resources: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in resources.values():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::IAM::Policy":
            yield from properties["PolicyDocument"]["Statement"]
        for policy in properties.get("Policies", []):
            yield from policy["PolicyDocument"]["Statement"]


def test_cfn_lint_has_nothing_to_say() -> None:
    assert lint_file(TEMPLATE) == []


def test_cfn_lint_would_speak(tmp_path: Path) -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    (tmp_path / "template.yml").write_text(text.replace("ScanOnPush: true", "ScanOnPull: true"), encoding="utf-8")
    assert [match.rule.id for match in lint_file(tmp_path / "template.yml")] == ["E3002"]


def test_rights_name_what_they_are_for(statements: list[dict[str, Any]]) -> None:
    """All resources only where AWS knows no narrower one, and no action by a pattern."""
    everywhere = set()
    assert len(statements) >= 12
    for statement in statements:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action]
        if statement["Resource"] == "*":
            everywhere.update(actions)
        else:
            assert isinstance(statement["Resource"], dict), "a resource of this account, by Ref, Sub or GetAtt"
    assert everywhere == {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}
    (measure,) = [one for one in statements if one["Action"] == "cloudwatch:PutMetricData"]
    assert "cloudwatch:namespace" in measure["Condition"]["StringLike"]


def test_the_builds_rights_are_what_a_push_takes(statements: list[dict[str, Any]]) -> None:
    """docker/push.py asks for the repository and its tags, Docker for the rest."""
    (push,) = [one for one in statements if one.get("Sid") == "Push"]
    assert {"ecr:DescribeRepositories", "ecr:BatchGetImage", "ecr:PutImage"} <= set(push["Action"])
    assert "ecr:CreateRepository" not in push["Action"]
    assert push["Resource"] == {"Fn::GetAtt": ["Repository", "Arn"]}


def test_a_connection_is_allowed_under_both_names_of_its_service(statements: list[dict[str, Any]]) -> None:
    """https://docs.aws.amazon.com/codebuild/latest/userguide/connections-github-app.html"""
    found = [one for one in statements if one.get("Sid", "").startswith("UseConnection")]
    names = {"codeconnections", "codestar-connections"}
    calls = ("GetConnection", "GetConnectionToken", "UseConnection")
    for one in found:
        assert set(one["Action"]) == {f"{name}:{call}" for name in names for call in calls}
    for given in names:
        arn = f"arn:aws:{given}:eu-west-1:123456789012:connection/1-2"
        assert {replaced(one["Resource"], arn) for one in found} == {arn.replace(given, name) for name in names}


def replaced(resource: dict[str, Any], arn: str) -> str:
    """What CloudFormation makes of Join and Split."""
    (glue, split) = resource["Fn::Join"]
    (separator, _) = split["Fn::Split"]
    return str(glue.join(arn.split(separator)))


def test_roles_serve_this_account_alone(resources: dict[str, Any]) -> None:
    roles = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::IAM::Role"]
    assert len(roles) == 2
    for role in roles:
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_images_stay_when_the_stack_goes(resources: dict[str, Any]) -> None:
    assert resources["Repository"]["DeletionPolicy"] == "Retain"
    assert resources["Repository"]["UpdateReplacePolicy"] == "Retain"


def test_an_update_that_answers_with_errors_is_taken_back(resources: dict[str, Any]) -> None:
    deployment = resources["Endpoint"]["Properties"]["DeploymentConfig"]
    assert deployment["AutoRollbackConfiguration"]["Alarms"] == [{"AlarmName": {"Ref": "ErrorAlarm"}}]
