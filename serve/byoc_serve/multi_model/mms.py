"""AWS's multi-model-server in place of this package's own: a JVM for HTTP, and a Python process for each model.

Source: docs/configuration.md of awslabs/multi-model-server, and the `model_server` of sagemaker-inference, which
starts it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from byoc_serve.settings import Settings
from byoc_vision.errors import InputError
from byoc_vision.system.machine import available_cores

HANDLER = "byoc_serve.multi_model.mms_service"
ENDED_EXIT_CODE = 1

_LARGEST_RESPONSE = 2**29  # bytes
_LOAD_SECONDS = 300

logger = logging.getLogger(__name__)


def serve_with_mms(settings: Settings) -> int:
    """Run multi-model-server until SIGTERM; the process's exit status, which is not 0 if it ended by itself.

    Raises InputError if it is not installed.
    """
    _check_installed()
    with tempfile.TemporaryDirectory(prefix="byoc-mms-") as scratch, _recorded_signals() as signals:
        os.environ.update(variables(settings, Path(scratch), os.environ))
        # Imported here, after that: it reads the environment when it is imported.
        from sagemaker_inference import model_server

        model_server.MMS_CONFIG_FILE = os.path.join(scratch, "mms.properties")  # its own is in /etc, often read-only
        model_server.start_model_server(handler_service=HANDLER)
        stopped = signal.SIGTERM in os.read(signals, 2**16)
    if not stopped:
        logger.error("multi-model-server ended by itself; its messages are above")
    return 0 if stopped else ENDED_EXIT_CODE


def variables(settings: Settings, scratch: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of multi-model-server and its workers. Variables that the user has set stay.

    scratch: a folder for all that it writes.
    """
    cores = str(available_cores())
    chosen = {
        "OMP_NUM_THREADS": cores,  # workers would take one thread
        # By default the JVM sees the machine instead of the container: its processors, and a quarter of its memory.
        "SAGEMAKER_MODEL_SERVER_VMARGS": f"-XX:+UseContainerSupport -XX:ActiveProcessorCount={cores}",
        # It limits loading too, which may take long; the time of requests is limited in the worker.
        "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": str(max(_LOAD_SECONDS, settings.request_timeout)),
        "MMS_JOB_QUEUE_SIZE": str(settings.queue_length),
        "MMS_MAX_REQUEST_SIZE": str(settings.max_body),  # by default 6.5 million bytes, of responses likewise
        "MMS_MAX_RESPONSE_SIZE": str(_LARGEST_RESPONSE),
    }
    fixed = {
        "ML_ROOT": str(settings.root),
        "SAGEMAKER_BASE_DIR": str(settings.root),
        "SAGEMAKER_BIND_TO_PORT": str(settings.port),
        "SAGEMAKER_MULTI_MODEL": "true",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", "")]),
        **dict.fromkeys(("TMPDIR", "TEMP", "LOG_LOCATION", "METRICS_LOCATION"), str(scratch)),
    }
    return {name: value for name, value in chosen.items() if not given.get(name)} | fixed


def _check_installed() -> None:
    absent = [name for name in ("mms", "sagemaker_inference") if importlib.util.find_spec(name) is None]
    absent += [] if shutil.which("java") or os.environ.get("JAVA_HOME") else ["java"]
    if absent:
        raise InputError(
            "MULTI_MODEL_SERVER=mms needs multi-model-server, which this image was built without "
            f"({', '.join(absent)}: missing); build it with `make build MULTI_MODEL_SERVER=1` "
            "(docker build --build-arg MULTI_MODEL_SERVER=1), or set MULTI_MODEL_SERVER=own"
        )


@contextmanager
def _recorded_signals() -> Iterator[int]:
    """A file descriptor from which the numbers of received signals can be read.

    sagemaker-inference forwards SIGTERM and waits for the JVM to end, and does not say why it ended.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    os.write(write_end, b"\0")  # so that reading never waits
    previous = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    # Until it has a handler of its own: process 1 would ignore the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(previous)
        os.close(read_end)
        os.close(write_end)
