"""An SDK's session, on SageMaker or on this machine: v2 and v3 have the same classes at different places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
from options import NO_TELEMETRY, Options


def session_of(options: Options, cloud: Callable[..., Any], local: Callable[..., Any]) -> Any:
    """cloud, local: the SDK's Session and LocalSession."""
    if not options.local:
        return cloud(default_bucket=options.bucket, sagemaker_config=NO_TELEMETRY)
    # It stays on this machine. Local mode asks for a region and credentials, and uses neither.
    session = local(boto3.Session("local", "local", region_name="us-east-1"), sagemaker_config=NO_TELEMETRY)
    session.config = {"local": {"local_code": True, "serving_port": options.port}}
    return session
