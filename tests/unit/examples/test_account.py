"""Region, image URI and AWS's errors, as the launch scripts read them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from botocore import exceptions

EXAMPLES = Path(__file__).parents[3] / "examples/on_sagemaker"
IMAGE = "123456789012.dkr.ecr.eu-west-3.amazonaws.com/team/byoc-vision"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Without any setting of the region."""
    monkeypatch.syspath_prepend(EXAMPLES)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return import_module("account")


def test_the_region_is_found_as_make_push_and_the_command_line_find_it(
    account: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="no region: export AWS_DEFAULT_REGION=eu-west-1"):
        account.find_region(None, "byoc-vision:latest")
    assert account.find_region(None, f"{IMAGE}:1") == ("eu-west-3", "the image's URI")
    (tmp_path / "config").write_text("[default]\nregion = eu-north-1\n[profile work]\nregion = eu-south-1\n")
    assert account.find_region(None, IMAGE) == ("eu-north-1", "the AWS profile")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert account.find_region(None, IMAGE) == ("eu-south-1", "the AWS profile")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert account.find_region(None, IMAGE) == ("eu-west-2", "AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert account.find_region(None, IMAGE) == ("eu-west-1", "AWS_REGION")
    assert account.find_region("us-east-1", IMAGE) == ("us-east-1", "--region")


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        (IMAGE, ("123456789012", "eu-west-3", "team/byoc-vision", None, None)),
        (f"{IMAGE}:1.0", ("123456789012", "eu-west-3", "team/byoc-vision", "1.0", None)),
        (
            f"{IMAGE}@sha256:{'0' * 64}",
            ("123456789012", "eu-west-3", "team/byoc-vision", None, f"sha256:{'0' * 64}"),
        ),
        ("210987654321.dkr.ecr.cn-north-1.amazonaws.com.cn/a:b", ("210987654321", "cn-north-1", "a", "b", None)),
        ("byoc-vision:latest", None),
        ("docker.io/library/debian", None),
    ],
)
def test_an_images_uri(account: ModuleType, uri: str, parts: tuple[str, ...] | None) -> None:
    assert account.parse_image(uri) == parts


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (exceptions.NoCredentialsError(), "no AWS credentials: `aws configure` sets new ones"),
        (exceptions.ProfileNotFound(profile="wrok"), "`aws configure list-profiles` lists the profiles"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="expired"), "`aws sso login` renews a session"),
        (exceptions.EndpointConnectionError(endpoint_url="https://sts"), "AWS cannot be reached: "),
    ],
)
def test_errors_come_with_their_remedy(account: ModuleType, error: Exception, said: str) -> None:
    assert said in account.explain(error)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredToken", "AWS refuses the credentials (ExpiredToken): `aws configure` sets new ones"),
        ("AccessDenied", "GetRole: no\nexamples/on_sagemaker/caller_policy.json lists the permissions"),
        ("ResourceLimitExceeded", "GetRole: no\nrequest a larger quota"),
        ("ValidationException", "GetRole: no (ValidationException)"),
    ],
)
def test_refusals_come_with_their_remedy(account: ModuleType, code: str, said: str) -> None:
    error = exceptions.ClientError({"Error": {"Code": code, "Message": "no"}}, "GetRole")
    assert account.explain(error).startswith(said)


@pytest.mark.parametrize(
    ("statement", "trusted"),
    [
        ({"Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}, True),
        ({"Principal": {"Service": ["a", "sagemaker.amazonaws.com"]}, "Action": ["sts:AssumeRole"]}, True),
        ({"Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}, False),
        ({"Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:TagSession"}, False),
        ({"Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}, False),
        ({"Principal": "*", "Action": "sts:AssumeRole"}, False),
    ],
)
def test_who_may_assume_a_role(account: ModuleType, statement: dict[str, object], trusted: bool) -> None:
    checks = import_module("checks")
    for document in (
        {"Statement": {"Effect": "Allow", **statement}},
        {"Statement": [{"Effect": "Allow", **statement}]},
    ):
        assert checks.trusts_sagemaker(document) is trusted
    assert not checks.trusts_sagemaker({"Statement": {"Effect": "Deny", **statement}})
