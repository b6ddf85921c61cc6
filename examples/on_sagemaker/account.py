"""Who the caller is and in which region, and what AWS's errors mean: one or two lines each, with the remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import boto3
from botocore import exceptions
from created import LeftBehindError

POLICY = "examples/on_sagemaker/caller_policy.json"
_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z.]+/(?P<repository>[^:@]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LOG_IN = "`aws configure` sets new ones, `aws sso login` renews a session, AWS_PROFILE=NAME selects a profile"
_REFUSED_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_NOT_ALLOWED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})
_LIMITS = frozenset({"ResourceLimitExceeded", "LimitExceededException"})


class EcrImage(NamedTuple):
    """The parts of an image's URI in ECR."""

    account: str
    region: str
    repository: str
    tag: str | None
    digest: str | None


def parse_image(uri: str) -> EcrImage | None:
    """None for an image that is not in ECR."""
    found = _IMAGE.fullmatch(uri)
    return EcrImage(**found.groupdict()) if found else None


def find_region(given: str | None, image: str) -> tuple[str, str]:
    """The region of everything that a run creates, and where it was set.

    `make push` and the AWS command line read the same settings in the same order; boto3 itself does not read
    AWS_REGION. Raises SystemExit if there is not a region.
    """
    for region, source in (
        (given, "--region"),
        (os.environ.get("AWS_REGION"), "AWS_REGION"),
        (os.environ.get("AWS_DEFAULT_REGION"), "AWS_DEFAULT_REGION"),
        (boto3.Session().region_name, "the AWS profile"),
    ):
        if region:
            return region, source
    if found := parse_image(image):
        return found.region, "the image's URI"
    raise SystemExit("no region: export AWS_DEFAULT_REGION=eu-west-1, or run `aws configure set region eu-west-1`")


def use_region(region: str) -> None:
    """For every client of this process, also those that the SDKs create themselves."""
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region


def is_refused(error: exceptions.ClientError) -> bool:
    """Whether the caller lacks a permission."""
    return error.response["Error"].get("Code") in _NOT_ALLOWED


def explain(error: exceptions.BotoCoreError | exceptions.ClientError) -> str:
    """What went wrong and what to do, in one or two lines."""
    if isinstance(error, exceptions.ClientError):
        return _explain_answer(error)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return f"no AWS credentials: {_LOG_IN}"
    if isinstance(error, exceptions.ProfileNotFound):
        return f"AWS_PROFILE: {error}; `aws configure list-profiles` lists the profiles"
    if isinstance(error, exceptions.SSOError | exceptions.TokenRetrievalError | exceptions.CredentialRetrievalError):
        return f"the AWS credentials cannot be read: {error}; {_LOG_IN}"
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return f"AWS cannot be reached: {error}; check the network and the region"
    return f"AWS: {error}"


def _explain_answer(error: exceptions.ClientError) -> str:
    code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    if code in _REFUSED_CREDENTIALS:
        return f"AWS refuses the credentials ({code}): {_LOG_IN}"
    said = f"{error.operation_name}: {message or code}"
    if code in _NOT_ALLOWED:
        return f"{said}\n{POLICY} lists the permissions that the caller needs"
    if code in _LIMITS:
        return f"{said}\nrequest a larger quota in the Service Quotas console, or choose another instance type"
    return f"{said} ({code})" if message else said


@contextmanager
def explained() -> Iterator[None]:
    """Ends the process with one or two lines instead of a traceback if AWS refuses something."""
    try:
        yield
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        raise SystemExit(f"error: {explain(error)}") from error
    except LeftBehindError as error:
        raise SystemExit(f"error: {error}") from error
