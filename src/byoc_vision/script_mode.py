"""Script mode: a job with its own entry point runs it through SageMaker's training toolkit.

Framework estimators put `sagemaker_program` and `sagemaker_submit_directory` among the hyperparameters;
newer clients set SAGEMAKER_PROGRAM.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import Any

from byoc_vision.errors import InputError
from byoc_vision.sagemaker_values import decode


def requested_program(raw_hyperparameters: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    """The user's own entry point, if the job names one."""
    program = decode(raw_hyperparameters.get("sagemaker_program")) or environment.get("SAGEMAKER_PROGRAM")
    return str(program) if program else None


def check_toolkit(program: str) -> None:
    """Raises InputError if the toolkit is not installed, as on a laptop."""
    if importlib.util.find_spec("sagemaker_training") is None:
        raise InputError(
            f"the job names its own script ({program}), which runs through sagemaker-training; "
            "the image has it, this environment does not: run it in the image"
        )


def has_module(environment: Mapping[str, str]) -> bool:
    """Whether a function of a module takes the toolkit's place, which the toolkit calls itself."""
    return bool(environment.get("SAGEMAKER_TRAINING_MODULE"))


def run_toolkit() -> None:
    """Replace this process by the toolkit's, so that it receives the signals and returns its status."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-c", "from sagemaker_training.cli.train import main; main()"])
