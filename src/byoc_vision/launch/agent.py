"""The processes of this host, started and watched by torchrun's agent in this process.

Torchrun's agent (`torch.distributed.elastic`) runs here rather than in a process of its own: as PID 1 this process then
relays signals as SageMaker means them, and ends with the status and the failure file of the process that failed first.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from torch.distributed.elastic.agent.server.api import RunResult, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from byoc_vision.errors import ResourceError
from byoc_vision.job import Job
from byoc_vision.launch.distributed import processes_per_host
from byoc_vision.launch.error_files import FAILURES_FOLDER, HOST, Failure, read_failures, write_failure
from byoc_vision.launch.host_heartbeat import MASTER_PORT, HostHeartbeat
from byoc_vision.launch.hosts import HOSTS_APPEAR_WITHIN_S, wait_for_hosts
from byoc_vision.launch.signals import STOPPED_EXIT_CODE, exit_at_once, handled
from byoc_vision.system.machine import available_cores

logger = logging.getLogger(__name__)

RENDEZVOUS_SECONDS = 600
EXIT_BARRIER_SECONDS = 30  # for the other hosts' processes to end as well
MONITOR_SECONDS = 0.2
_EFA_DEVICES = Path("/dev/infiniband")
_PLUGIN_FOLDERS = ("/opt/amazon/ofi-nccl/lib", "/opt/amazon/ofi-nccl/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64")
# The agent answers signals by killing: see _Relay. It insists on at least one signal.
_AGENTS_SIGNALS = "SIGQUIT"


def launch(job: Job, arguments: Sequence[str], hosts_within_s: float = HOSTS_APPEAR_WITHIN_S) -> int:
    """Start this host's processes with `arguments`, and wait for them; the exit status of the job on this host.

    Raises:
        ResourceError: the other hosts do not appear.
    """
    per_host = processes_per_host()
    logger.info("Starting %d process(es) on this host, %d host(s) in all", per_host, len(job.hosts))
    if len(job.hosts) > 1 and efa_is_unused(os.environ):
        logger.warning(
            "The hosts have EFA, and this image has no plugin of NCCL for it: gradients travel over TCP, more slowly. "
            "docs/gpu.md says how to add it"
        )
    relay = _Relay()
    with handled(relay.on_signal), tempfile.TemporaryDirectory(prefix="byoc-failures-") as folder:
        if len(job.hosts) > 1:  # a single one needs no name, which often does not resolve in a plain `docker run`
            wait_for_hosts(job.hosts, hosts_within_s)
        with HostHeartbeat(job.hosts, job.current_host, relay.kill) as heartbeat, _environment(job, folder):
            relay.agent = _agent(job, per_host, arguments)
            result = relay.agent.run()
            return _outcome(job, result, Path(folder), relay, heartbeat)


def launch_environment(job: Job) -> dict[str, str]:
    """What the processes' collectives need to know of the network, and their share of the cores."""
    environment = {"OMP_NUM_THREADS": str(max(1, available_cores() // processes_per_host()))}
    if job.network_interface:
        environment |= {"NCCL_SOCKET_IFNAME": job.network_interface, "GLOO_SOCKET_IFNAME": job.network_interface}
    return environment | dict(os.environ)


def efa_is_unused(environment: Mapping[str, str], devices: Path = _EFA_DEVICES) -> bool:
    """Whether this host has an Elastic Fabric Adapter and NCCL no plugin (aws-ofi-nccl) to use it."""
    if not any(devices.glob("uverbs*")):
        return False
    folders = [*environment.get("LD_LIBRARY_PATH", "").split(":"), *_PLUGIN_FOLDERS]
    return not any(any(Path(folder).glob("libnccl-net*.so*")) for folder in folders if folder)


@contextmanager
def _environment(job: Job, failures_folder: str) -> Iterator[None]:
    """What the processes inherit, for as long as they run."""
    before = dict(os.environ)
    os.environ |= launch_environment(job) | {
        FAILURES_FOLDER: failures_folder,
        HOST: job.current_host if len(job.hosts) > 1 else socket.gethostname(),
        "TORCHELASTIC_SIGNALS_TO_HANDLE": _AGENTS_SIGNALS,
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _agent(job: Job, per_host: int, arguments: Sequence[str]) -> LocalElasticAgent:
    address = job.hosts[0] if len(job.hosts) > 1 else "127.0.0.1"
    port = MASTER_PORT if len(job.hosts) > 1 else _free_port()
    rendezvous = RendezvousParameters(
        backend="static",
        endpoint=f"{address}:{port}",
        run_id="byoc-vision",
        min_nodes=len(job.hosts),
        max_nodes=len(job.hosts),
        rank=job.host_rank,
        timeout=RENDEZVOUS_SECONDS,
    )
    spec = WorkerSpec(
        role="default",
        local_world_size=per_host,
        entrypoint=sys.executable,
        args=("-m", "byoc_vision", *arguments),
        rdzv_handler=get_rendezvous_handler(rendezvous),
        max_restarts=0,
        monitor_interval=MONITOR_SECONDS,
        master_addr=address,
        master_port=port,
    )
    return LocalElasticAgent(spec, DefaultLogsSpecs(), exit_barrier_timeout=EXIT_BARRIER_SECONDS)


def _free_port() -> int:
    """Several jobs on one machine must not meet."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class _Relay:
    """Passes SIGTERM on to every process, and waits: each of them finishes its step and ends by itself."""

    def __init__(self) -> None:
        self.agent: LocalElasticAgent | None = None
        self.requests = 0

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.requests += 1
        if not self._send(signal.SIGTERM):
            exit_at_once("Asked to stop before the processes were started")

    def _send(self, signum: signal.Signals) -> bool:
        """Whether there was a process to send it to."""
        workers = self.agent.get_worker_group().workers if self.agent else []
        pids = [worker.id for worker in workers if worker.id]
        for pid in pids:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                logger.debug("process %d has ended", pid)
        return bool(pids)


def _outcome(job: Job, result: RunResult, folder: Path, relay: _Relay, heartbeat: HostHeartbeat) -> int:
    if not result.is_failed():
        return 0
    failures = read_failures(folder)
    if relay.requests and not any(not failure.consequence for failure in failures):
        return STOPPED_EXIT_CODE
    cause = _cause(result, failures, heartbeat)
    logger.error("%s", cause.message)
    write_failure(job.paths.failure, cause.message)
    heartbeat.tell(cause)
    return cause.exit_code


def _cause(result: RunResult, failures: Sequence[Failure], heartbeat: HostHeartbeat) -> Failure:
    """What to blame: an error of a process's own, else a process that was killed, else another host, else the rest."""
    if failures and not failures[0].consequence:
        return failures[0]
    if not heartbeat.alarmed:
        for rank, ended in result.failures.items():
            if ended.exitcode < 0:
                return _killed(rank, ended.exitcode)
    if elsewhere := heartbeat.cause():
        return elsewhere
    if failures:
        return failures[0]
    rank, ended = next(iter(result.failures.items()))
    return Failure(
        f"Internal error: rank {rank} on {os.environ[HOST]} ended with status {ended.exitcode}; see the log", 1
    )


def _killed(rank: int, exit_code: int) -> Failure:
    error = explain_signal(signal.Signals(-exit_code))
    return Failure(f"{error.category} [rank {rank} on {os.environ[HOST]}]: {error}", error.exit_code, False, rank)


def explain_signal(signum: signal.Signals) -> ResourceError:
    """Why a signal ended a process, unless the job was asked to stop, and what to do."""
    match signum:
        case signal.SIGABRT:
            return ResourceError(
                "the process aborted itself (SIGABRT), as a rule because a GPU or the network between the processes "
                "failed: NCCL aborts when another process does not answer, CUDA when its device is lost; see the log "
                "above, and set NCCL_DEBUG=INFO for more of it. Restart the job; it goes on from its checkpoint"
            )
        case signal.SIGBUS:
            return ResourceError(
                "the process was killed by SIGBUS: shared memory is full, as a rule; start the container with more "
                "(--shm-size 1g), or set num_workers=0"
            )
        case signal.SIGSEGV | signal.SIGILL | signal.SIGFPE:
            return ResourceError(
                f"the process crashed in a library ({signum.name}); see the log above. Restart the job, which goes on "
                "from its checkpoint; if it crashes again, take another instance type or precision=float32, and report "
                "it"
            )
    return ResourceError(
        f"the process was killed by {signum.name}: by the kernel for lack of memory, as a rule; take a smaller "
        "batch_size, fewer num_workers, or an instance with more memory"
    )
