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


def toolkit_command(program: str, root: str) -> list[str]:
    """The command that starts the toolkit.

    Raises InputError if the toolkit is not installed, as on a laptop, or `root` is not /opt/ml.
    """
    if importlib.util.find_spec("sagemaker_training") is None:
        raise InputError(
            f"the job names its own script ({program}), which runs through sagemaker-training; "
            "the image has it, this environment does not: run it in the image"
        )
    if root != "/opt/ml":
        raise InputError(f"script mode works only below /opt/ml, not below {root}; run it in the image")
    return [sys.executable, "-c", "from sagemaker_training.cli.train import main; main()"]


def run_toolkit(command: list[str]) -> None:
    """Replace this process by the toolkit's, so that it receives the signals and returns its status."""
    sys.stdout.flush()
    os.execv(command[0], command)
