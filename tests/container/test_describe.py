"""What `describe` says, in the genuine SDKs' own classes, and in environments that have neither torch nor OpenCV."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.containers import REPOSITORY

from byoc_vision.describe.metrics import metric_definitions
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.tuning import as_program, as_request

pytestmark = pytest.mark.slow

RECIPE = REPOSITORY / "examples/camvid_unet"
MODULES = {2: "sagemaker.tuner", 3: "sagemaker.core.parameter"}

# The program that was pasted, and the ranges as the SDK would send them.
PASTED = """
import json
print(json.dumps({
    name: {**found.as_tuning_range(name), "__name__": found.__name__}
    for name, found in tuner_arguments["hyperparameter_ranges"].items()
}))
"""
IMPORTED = """
import json, sys
from importlib import import_module
from byoc_vision.describe.metrics import metric_definitions
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.tuning import as_metrics, tuner_arguments
arguments = tuner_arguments(search_space(sys.argv[1]), metric_definitions(), import_module(sys.argv[2]))
print(json.dumps({
    name: {**found.as_tuning_range(name), "__name__": found.__name__}
    for name, found in arguments["hyperparameter_ranges"].items()
}))
assert not {"torch", "cv2", "timm"} & set(sys.modules)
"""


def run(version: int, program: str, *arguments: str | Path) -> Any:
    python = REPOSITORY / f".venv-sdk{version}/bin/python"
    assert python.exists(), f"{python} is missing: `make sdk-clients` makes it"
    environment = {"PYTHONPATH": str(REPOSITORY / "src"), "AWS_DEFAULT_REGION": "eu-west-1", "HOME": "/nonexistent"}
    done = subprocess.run(
        [python, "-c", program, *arguments], env=environment, stdout=subprocess.PIPE, text=True, timeout=110
    )
    assert done.returncode == 0
    return json.loads(done.stdout.splitlines()[-1])


def expected() -> dict[str, Any]:
    """The ranges that the request for boto3 has, by name."""
    config = as_request(search_space(RECIPE), metric_definitions())["HyperParameterTuningJobConfig"]
    return {
        entry["Name"]: {**entry, "__name__": kind.removesuffix("ParameterRanges")}
        for kind, entries in config["ParameterRanges"].items()
        for entry in entries
    }


@pytest.mark.parametrize("version", [2, 3])
def test_the_pasted_program_makes_the_sdk_s_ranges(version: int) -> None:
    program = as_program(search_space(RECIPE), metric_definitions(), "v2" if version == 2 else "v3")
    assert run(version, program + PASTED) == expected()


@pytest.mark.parametrize("version", [2, 3])
def test_ranges_are_made_where_there_is_neither_torch_nor_opencv(version: int) -> None:
    assert run(version, IMPORTED, RECIPE, MODULES[version]) == expected()


def test_v3_takes_the_metric_definitions() -> None:
    program = """if True:
        import json, sys
        from byoc_vision.describe.metrics import metric_definitions
        from byoc_vision.describe.tuning import as_metrics
        from sagemaker.train.configs import MetricDefinition
        print(json.dumps([MetricDefinition(**entry).name for entry in as_metrics(metric_definitions(), "v3")]))
    """
    assert run(3, program) == [definition.name for definition in metric_definitions()]
