"""The account's quotas of the instances that a run starts. New accounts have 0 of most instance types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
from account import is_refused
from botocore.exceptions import ClientError
from findings import Finding, failed, note, ok
from options import Options


def needed_quotas(options: Options) -> dict[str, int]:
    """The names of the quotas, as Service Quotas has them, and how many instances run at the same time."""
    needed: Counter[str] = Counter()
    for step in options.steps:
        if step in ("train", "tune"):
            kind = "spot training job usage" if options.spot else "training job usage"
            count = options.instance_count * (options.parallel_jobs if step == "tune" else 1)
            needed[f"{options.training_instance} for {kind}"] += count
        elif step == "deploy":
            needed[f"{options.serving_instance} for endpoint usage"] += 1
        elif step in ("async", "multi-model"):
            name = f"{options.cpu_instance} for endpoint usage"
            # An endpoint is deleted before the next one is created, unless all are kept.
            needed[name] = needed[name] + 1 if options.keep else max(needed[name], 1)
        elif step == "transform":
            needed[f"{options.cpu_instance} for transform job usage"] += 1
    return dict(needed)


def check_quotas(session: boto3.Session, options: Options) -> Iterator[Finding]:
    needed = needed_quotas(options)
    try:
        found = _find(session, set(needed))
    except ClientError as error:
        if not is_refused(error):
            raise
        yield note("quota", "not checked, because servicequotas:ListServiceQuotas is not allowed")
        return
    for name, count in needed.items():
        if name in found:
            yield _judge(name, count, found[name], str(session.region_name))
        else:
            yield note("quota", f"{name}: not listed in {session.region_name}; the type may not be offered there")


def _find(session: boto3.Session, names: set[str]) -> dict[str, dict[str, Any]]:
    """SageMaker has thousands; the listing ends when all are found."""
    found: dict[str, dict[str, Any]] = {}
    pages = session.client("service-quotas").get_paginator("list_service_quotas")
    for page in pages.paginate(ServiceCode="sagemaker", PaginationConfig={"PageSize": 100}):
        found |= {quota["QuotaName"]: quota for quota in page["Quotas"] if quota["QuotaName"] in names}
        if found.keys() >= names:
            break
    return found


def _judge(name: str, count: int, quota: dict[str, Any], region: str) -> Finding:
    value = int(quota["Value"])
    if value >= count:
        return ok("quota", f"{name}: {count} of {value}")
    request = (
        "aws service-quotas request-service-quota-increase --service-code sagemaker "
        f"--quota-code {quota['QuotaCode']} --desired-value {count} --region {region}"
    )
    other = "--no-spot, --parallel-jobs or another instance type need other quotas" if "training" in name else ""
    return failed(
        "quota", f"{name}: {value}, but the run needs {count}; {other or 'choose another instance type'}, or\n{request}"
    )
