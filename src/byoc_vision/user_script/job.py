"""A job that runs the user's own script: SageMaker's training toolkit prepares it, and this image runs it.

The toolkit reads the job's files, fetches and installs the script, and defines its arguments and its `SM_*` variables.
It does not pass SIGTERM on, its failure file says nothing of what failed, and it waits silently for hosts; so the
process, the hosts and the failure file are ours. What its container for PyTorch adds is here too: torchrun, and the
address of the first host.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from byoc_vision.errors import InputError, ResourceError, UserError
from byoc_vision.job import JOB_NAME, existing_interface
from byoc_vision.launch.error_files import write_failure
from byoc_vision.launch.hosts import PROCESSES_VARIABLE, choose_processes, make_resolve, wait_for_hosts
from byoc_vision.launch.signals import STOPPED_EXIT_CODE
from byoc_vision.paths import DEFAULT_ROOT, MlPaths
from byoc_vision.sagemaker_values import decode
from byoc_vision.user_script.process import Ended, describe_end, run_script
from byoc_vision.user_script.report import report_on_script

MASTER_PORT = "7777"  # as in AWS's own containers
SCRIPT_EXIT_CODE = 1  # of every script that fails, as the toolkit has it

_TORCHRUN = ("sagemaker_torch_distributed_enabled", "sagemaker_pytorch_ddp_enabled")
_NOT_HERE = (
    "sagemaker_mpi_enabled",
    "sagemaker_distributed_dataparallel_enabled",
    "sagemaker_parameter_server_enabled",
)

logger = logging.getLogger(__name__)


def run_job(paths: MlPaths, program: str, hyperparameters: Mapping[str, Any]) -> int:
    """Run the script; the exit status of the job.

    Args:
        paths: the job's folders.
        program: the script, relative to its folder.
        hyperparameters: as the job's file has them, with those of the toolkit.

    Raises:
        UserError: the script cannot be fetched, installed or started.
    """
    os.environ.setdefault("SAGEMAKER_BASE_DIR", str(paths.root))  # read when the toolkit is imported
    from sagemaker_training import environment, files, intermediate_output

    given = {name: _parse(value) for name, value in hyperparameters.items()}
    distributed = _wants_torchrun(given)
    env = _prepare(paths, program, given)
    code, is_first = Path(environment.code_dir), env.current_host == env.hosts[0]
    _find_hosts(paths, env.hosts, env.current_host)
    command = launcher(env, program) if distributed else _command(env)
    logger.info("Running %s", shlex.join(command))
    region = os.environ.get("AWS_REGION") or os.environ.get("SAGEMAKER_REGION") or None
    sync = intermediate_output.start_sync(
        env.sagemaker_s3_output(), region, endpoint_url=os.environ.get("S3_ENDPOINT_URL")
    )
    status = _report(paths, program, run_script(command, code))
    if status == 0:
        if is_first:
            keep_inference_script(code, paths.model)
        files.write_success_file()
    elif sync and not paths.failure.exists():
        write_failure(paths.failure, f"{program} was stopped")  # the sync waits for one of the two files
    if sync:
        sync.join()
    folders = [paths.output_data, paths.root / "output/tensors"]
    if is_first and (report := report_on_script(folders, paths.output_data, os.environ.get(JOB_NAME, ""))):
        logger.info("The curves of what the script recorded are in %s", report)
    return status


def _prepare(paths: MlPaths, program: str, given: Mapping[str, Any]) -> Any:
    """Fetch and install the script; the toolkit's environment, whose variables are set. Raises as `run_job` does."""
    from sagemaker_training import entry_point, environment, errors, files

    for folder in (paths.model, paths.output_data):
        folder.mkdir(parents=True, exist_ok=True)
    env = environment.Environment(
        resource_config=_Given(_resources(paths)),
        input_data_config=_Given(_channels(paths)),
        hyperparameters=_Given({"sagemaker_program": program} | dict(given)),
    )
    variables = env.to_env_vars() | _network(env.hosts, env.network_interface_name)
    try:
        files.download_and_extract(uri=env.module_dir, path=environment.code_dir)
        entry_point.install(name=env.user_entry_point, path=environment.code_dir, capture_error=True)
    except errors.ClientError as error:
        raise _not_started(program, error) from error
    except Exception as error:  # boto's, of S3
        raise ResourceError(f"the script could not be fetched from {env.module_dir}: {error}") from error
    environment.write_env_vars(variables)
    return env


def keep_inference_script(code: Path, model: Path) -> None:
    """Put the script's folder into the model if it can serve it: `Estimator.deploy()` passes no script on."""
    if not (code / "inference.py").is_file() or (model / "code").exists():
        return
    try:
        shutil.copytree(code, model / "code", ignore=shutil.ignore_patterns("__pycache__", ".git"))
    except OSError as error:  # shutil.Error is one
        logger.warning("%s could not be put into the model: %s", code, error)
        shutil.rmtree(model / "code", ignore_errors=True)
    else:
        logger.info(
            "inference.py and what is beside it are now in %s, so that the model can be deployed", model / "code"
        )


def _report(paths: MlPaths, program: str, ended: Ended) -> int:
    """The job's exit status; of a script that failed also its failure file."""
    if ended.status == 0:
        return 0
    if ended.asked:
        logger.info("%s was stopped", program)
        return STOPPED_EXIT_CODE
    message = describe_end(program, ended)
    logger.error("%s", message.partition("\n")[0])
    write_failure(paths.failure, message)
    return SCRIPT_EXIT_CODE


class _Given(dict[str, Any]):
    """A configuration that counts as given if it is empty: the toolkit would read a file that may be missing."""

    def __bool__(self) -> bool:
        return True


def _parse(value: object) -> object:
    """As the toolkit does: JSON, or the text itself."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _wants_torchrun(given: Mapping[str, Any]) -> bool:
    for name in _NOT_HERE:
        if decode(given.get(name)) is True:
            raise InputError(
                f"{name} asks for a launcher that this image does not have; use "
                'distribution={"torch_distributed": {"enabled": True}}'
            )
    return any(decode(given.get(name)) is True for name in _TORCHRUN)


def _resources(paths: MlPaths) -> dict[str, Any]:
    """A plain `docker run` has no resourceconfig.json."""
    host = "algo-1" if str(paths.root) == DEFAULT_ROOT else socket.gethostname()
    fallback = {"current_host": host, "hosts": [host], "current_instance_type": "local"}
    return fallback | _read(paths.resource_config)


def _channels(paths: MlPaths) -> dict[str, Any]:
    """Those that the file declares; without a file, the folders."""
    if paths.input_data_config.is_file():
        return _read(paths.input_data_config)
    folders = sorted(paths.channels.iterdir()) if paths.channels.is_dir() else []
    return {folder.name: {"TrainingInputMode": "File"} for folder in folders if folder.is_dir()}


def _read(file: Path) -> dict[str, Any]:
    from byoc_vision.io import read_object

    return read_object(file)


def _network(hosts: Sequence[str], interface: str) -> dict[str, str]:
    """What torch.distributed reads; what the user has set stays."""
    variables = {"MASTER_ADDR": hosts[0] if len(hosts) > 1 else "127.0.0.1", "MASTER_PORT": MASTER_PORT}
    if existing := existing_interface(interface):
        variables |= {"NCCL_SOCKET_IFNAME": existing, "GLOO_SOCKET_IFNAME": existing}
    return {name: os.environ.get(name, value) for name, value in variables.items()}


def _find_hosts(paths: MlPaths, hosts: Sequence[str], current_host: str) -> None:
    """Wait for the others. A single host's own name is made to resolve in a container, and not needed elsewhere."""
    if len(hosts) > 1:
        wait_for_hosts(hosts)
    elif str(paths.root) == DEFAULT_ROOT:
        make_resolve(current_host)


def _command(env: Any) -> list[str]:
    from sagemaker_training import process

    runner = process.ProcessRunner(env.user_entry_point, env.to_cmd_args(), {}, 1)
    return list(runner._create_command())


def launcher(env: Any, program: str) -> list[str]:
    """A process for each GPU of each host, or one on a host without; or as many as BYOC_PROCESSES_PER_HOST says.

    env: of SageMaker's toolkit.
    """
    if not program.endswith(".py"):
        raise InputError(f"{program} is not a Python script, which torch_distributed needs")
    processes = choose_processes(os.environ.get(PROCESSES_VARIABLE), int(env.num_gpus))
    command = torchrun_command(env.hosts, env.current_host, processes)
    return [*command, program, *env.to_cmd_args()]


def torchrun_command(hosts: Sequence[str], current_host: str, processes: int) -> list[str]:
    """The launcher, up to the script. processes: on each host."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(len(hosts)), "--nproc-per-node"]
    command.append(str(processes))
    if len(hosts) == 1:
        return [*command, "--standalone"]
    rank = str(list(hosts).index(current_host))
    return [*command, "--node-rank", rank, "--master-addr", hosts[0], "--master-port", os.environ["MASTER_PORT"]]


def _not_started(program: str, error: Any) -> UserError:
    """What pip or the toolkit says, in one line."""
    output = getattr(error, "output", None)
    if output is None:
        return InputError(f"{program}: {error}")
    lines = [line.strip() for line in str(output).splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "see the log")
    return ResourceError(
        f"what {program} needs could not be installed: {reason}. If the job has no network, build the packages into "
        "an image that begins FROM this one, or put wheels beside the script and list them by their path"
    )
