"""Checks of the account, the bucket, the role, the image, the quotas and the data, before anything costs money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
from account import is_refused, parse_image
from botocore.exceptions import ClientError
from data_check import DataCheck, check_data
from findings import Finding, failed, note, ok, show
from options import Options
from place import parts
from quotas import check_quotas

_SERVICE = "sagemaker.amazonaws.com"


def check_all(options: Options, session: boto3.Session, region_source: str) -> int | None:
    """Print what was found. The number of images for training, None if they were not counted.

    Raises SystemExit if something keeps the run from working.
    """
    data: list[DataCheck] = []
    if not show(_findings(options, session, region_source, data)):
        raise SystemExit("Nothing was started. Fix what failed and run the same command again.")
    return data[0].images


def _findings(options: Options, session: boto3.Session, region_source: str, data: list[DataCheck]) -> Iterator[Finding]:
    """The identity first: without it nothing else can be asked."""
    region = str(session.region_name)
    caller = session.client("sts").get_caller_identity()
    yield ok("identity", f"{caller['Arn']}, account {caller['Account']}")
    yield ok("region", f"{region}, from {region_source}")
    yield check_bucket(session, options.bucket, region)
    yield check_role(session, options.role, caller["Account"])
    yield check_image(session, options.image, region)
    if options.model:
        yield check_model(session, options.model)
    yield from check_quotas(session, options)
    data.append(check_data(options))
    yield from data[0].findings


def check_bucket(session: boto3.Session, name: str | None, region: str) -> Finding:
    if name is None:
        return ok("bucket", "SageMaker's default bucket of this region; created if it is missing")
    try:
        answer = session.client("s3").head_bucket(Bucket=name)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return failed(
                "bucket", f"there is not a bucket {name}; `aws s3 mb s3://{name} --region {region}` creates it"
            )
        if status == 403:
            return failed(
                "bucket", f"{name}: access denied; it belongs to another account, or s3:ListBucket is missing"
            )
        raise
    where = answer.get("BucketRegion", region)
    if where != region:
        remedy = f"name a bucket in {region}, or use --region {where} and an image there"
        return failed("bucket", f"{name} is in {where}, but the job would run in {region}; {remedy}")
    return ok("bucket", f"{name}, in {where}")


def check_role(session: boto3.Session, arn: str, account: str) -> Finding:
    """Its trust policy is only checked if the caller may read it."""
    own, name = arn.split(":")[4], arn.rpartition("/")[2]
    if own != account:
        return failed("role", f"{arn} belongs to account {own}, but the caller to {account}; name a role of {account}")
    try:
        role = session.client("iam").get_role(RoleName=name)["Role"]
    except ClientError as error:
        if error.response["Error"].get("Code") == "NoSuchEntity":
            return failed("role", f"there is not a role {name}; examples/on_sagemaker/cloudformation.md creates one")
        if is_refused(error):
            return note("role", f"{name}: not checked, because iam:GetRole is not allowed; {_SERVICE} must be trusted")
        raise
    if not trusts_sagemaker(role["AssumeRolePolicyDocument"]):
        return failed(
            "role", f"{name}: SageMaker cannot assume it; allow sts:AssumeRole to {_SERVICE} in its trust policy"
        )
    return ok("role", f"{name}, which SageMaker can assume")


def trusts_sagemaker(document: dict[str, Any]) -> bool:
    """Whether a trust policy lets SageMaker assume the role; its conditions are not considered."""
    return any(
        statement.get("Effect") == "Allow"
        and {"sts:AssumeRole", "sts:*", "*"} & set(_listed(statement.get("Action")))
        and _SERVICE in _listed((statement.get("Principal") or {}).get("Service"))
        for statement in _listed(document.get("Statement"))
        if isinstance(statement.get("Principal"), dict)
    )


def _listed(value: Any) -> list[Any]:
    """IAM writes a list of one entry without the list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def check_image(session: boto3.Session, uri: str, region: str) -> Finding:
    found = parse_image(uri)
    if found is None:
        return failed("image", f"{uri} is not in ECR; `make build push` prints the URI for --image or IMAGE_URI")
    if found.region != region:
        remedy = f"use --region {found.region}, or push the image with `make push AWS_REGION={region}`"
        return failed("image", f"{uri} is in {found.region}, but the job would run in {region}; {remedy}")
    wanted = {"imageDigest": found.digest} if found.digest else {"imageTag": found.tag or "latest"}
    ecr = session.client("ecr")
    try:
        (image,) = ecr.describe_images(registryId=found.account, repositoryName=found.repository, imageIds=[wanted])[
            "imageDetails"
        ]
    except ecr.exceptions.RepositoryNotFoundException:
        return failed(
            "image", f"there is not a repository {found.repository} in {region}; `make build push` creates it"
        )
    except ecr.exceptions.ImageNotFoundException:
        (name,) = wanted.values()
        listing = f"`aws ecr list-images --repository-name {found.repository} --region {region}` lists the tags"
        return failed("image", f"the repository {found.repository} does not have {name}; {listing}")
    except ClientError as error:
        if is_refused(error):
            return note("image", f"{uri}: not checked, because ecr:DescribeImages is not allowed")
        raise
    size = f", {image['imageSizeInBytes'] / 1e9:.1f} GB" if image.get("imageSizeInBytes") else ""
    return ok(
        "image", f"{found.repository}:{found.tag or found.digest}, pushed {image['imagePushedAt']:%Y-%m-%d}{size}"
    )


def check_model(session: boto3.Session, address: str) -> Finding:
    """The archive that the serving steps use."""
    bucket, key = parts(address)
    try:
        session.client("s3").head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return failed(
                "model", f"there is not a file {address}; `aws s3 ls s3://{bucket}/ --recursive` lists the files"
            )
        if status == 403:
            return failed(
                "model", f"{address}: access denied; allow s3:GetObject, and s3:ListBucket to see what is missing"
            )
        raise
    return ok("model", address)
