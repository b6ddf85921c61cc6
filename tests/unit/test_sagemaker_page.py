"""docs/sagemaker.md lists what SageMaker gives a container, and tells the truth about what the code reads."""

from __future__ import annotations

import re

import pytest
from support.readme import REPOSITORY

PAGE = (REPOSITORY / "docs/sagemaker.md").read_text(encoding="utf-8")
ROWS = {
    name: read == "yes" for name, read in re.findall(r"^\| `([\w.*-]+)` \| (yes|no) \| \S", PAGE, flags=re.MULTILINE)
}

# From AWS's developer guide ("How Amazon SageMaker provides training information", "Use your own inference code"), the
# toolkits, and the folders of real jobs.
FILES = (
    "hyperparameters.json",
    "inputdataconfig.json",
    "resourceconfig.json",
    "checkpointconfig.json",
    "init-config.json",
    "trainingjobconfig.json",
    "metric-definition-regex.json",
    "upstreamoutputdataconfig.json",
    "debughookconfig.json",
    "profilerconfig.json",
)
VARIABLES = (
    "TRAINING_JOB_NAME",
    "TRAINING_JOB_ARN",
    "AWS_REGION",
    "SM_*",
    "SAGEMAKER_PROGRAM",
    "SAGEMAKER_TRAINING_MODULE",
    "SAGEMAKER_BIND_TO_PORT",
    "SAGEMAKER_BATCH",
    "SAGEMAKER_MAX_PAYLOAD_IN_MB",
    "SAGEMAKER_BATCH_STRATEGY",
    "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
    "SAGEMAKER_MULTI_MODEL",
)


@pytest.mark.parametrize("name", [*FILES, *VARIABLES])
def test_what_sagemaker_gives_is_listed(name: str) -> None:
    assert name in ROWS


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_page_tells_what_the_code_reads(name: str) -> None:
    packages = (REPOSITORY / "src", REPOSITORY / "serve")
    code = "\n".join(path.read_text(encoding="utf-8") for package in packages for path in package.rglob("*.py"))
    quoted = rf"\"(input/config/)?{re.escape(name)}\"" if name != "SM_*" else r"\"SM_[A-Z]"
    assert bool(re.search(quoted, code)) is ROWS[name]
