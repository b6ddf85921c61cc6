"""The processes of this host, started and watched by torchrun's agent in this process.

Torchrun's agent (`torch.distributed.elastic`) runs here rather than in a process of its own: as PID 1 this process then
relays signals as SageMaker means them, and ends with the status and the failure file of whichever process failed first.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
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
from byoc_vision.training import distributed
from byoc_vision.training.failure import write_failure
from byoc_vision.training.host_heartbeat import HostWatch
from byoc_vision.training.signals import STOPPED_EXIT_CODE, leave_at_once
from byoc_vision.training.error_files import FAILURES_FOLDER, HOST, Report, read_reports

logger = logging.getLogger(__name__)

RENDEZVOUS_SECONDS = 600
EXIT_BARRIER_SECONDS = 30  # for the other hosts' processes to end as well
MONITOR_SECONDS = 0.2
# Nothing that the agent would answer by killing: see _Relay. It insists on at least one signal.
_AGENTS_SIGNALS = "SIGQUIT"


def launch(job: Job, arguments: Sequence[str], hosts_within_s: float = distributed.HOSTS_APPEAR_WITHIN_S) -> int:
    """Start this host's processes with `arguments`, and wait for them; the exit status of the job on this host.

    Raises ResourceError where the other hosts do not appear.
    """
    per_host = distributed.processes_per_host()
    logger.info("Starting %d process(es) on this host, %d host(s) in all", per_host, len(job.hosts))
    relay = _Relay()
    with relay, tempfile.TemporaryDirectory(prefix="byoc-failures-") as folder:
        distributed.wait_for_hosts(job.hosts, hosts_within_s)
        with HostWatch.of(job, relay.kill) as watch, _environment(job, folder):
            relay.agent = _agent(job, per_host, arguments)
            result = relay.agent.run()
            return _outcome(job, result, Path(folder), relay, watch)


@contextmanager
def _environment(job: Job, failures_folder: str) -> Iterator[None]:
    """What the processes inherit, for as long as they are there."""
    before = dict(os.environ)
    os.environ |= distributed.launch_environment(job) | {
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
    port = distributed.MASTER_PORT if len(job.hosts) > 1 else _free_port()
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

    def __enter__(self) -> None:
        self._previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.requests += 1
        if not self._send(signal.SIGTERM):
            leave_at_once("Asked to stop before the processes were started")

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


def _outcome(job: Job, result: RunResult, folder: Path, relay: _Relay, watch: HostWatch) -> int:
    if not result.is_failed():
        return 0
    reports = read_reports(folder)
    if relay.requests and not any(not report.consequence for report in reports):
        return STOPPED_EXIT_CODE
    cause = _cause(result, reports, watch)
    logger.error("%s", cause.message)
    write_failure(job.paths.failure, cause.message)
    watch.tell(cause)
    return cause.exit_code


def _cause(result: RunResult, reports: Sequence[Report], watch: HostWatch) -> Report:
    """What to blame: an error of a process's own, else a process that was killed, else another host, else the rest."""
    if reports and not reports[0].consequence:
        return reports[0]
    if not watch.alarmed:
        for rank, failure in result.failures.items():
            if failure.exitcode < 0:
                return _killed(rank, failure.exitcode)
    if told := watch.cause():
        return told
    if reports:
        return reports[0]
    rank, failure = next(iter(result.failures.items()))
    return Report(f"Our bug: rank {rank} on {os.environ[HOST]} ended with status {failure.exitcode}; see the log", 1)


def _killed(rank: int, exit_code: int) -> Report:
    name = signal.Signals(-exit_code).name
    error = ResourceError(
        f"the process was killed by {name}: by the kernel for lack of memory, as a rule; take a smaller batch_size, "
        "fewer num_workers, or an instance with more memory"
    )
    return Report(f"{error.category} [rank {rank} on {os.environ[HOST]}]: {error}", error.exit_code, False, rank)
