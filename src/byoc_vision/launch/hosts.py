"""The hosts of a job, which find each other by name, and how many processes each has."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from byoc_vision.errors import InputError, ResourceError

PROCESSES_VARIABLE = "BYOC_PROCESSES_PER_HOST"
# SageMaker starts the hosts of a job at about the same time; names appear when their containers do.
HOSTS_APPEAR_WITHIN_S = 300.0
TELL_AFTER_S = 15.0
_HOSTS_FILE = Path("/etc/hosts")
_LOOPBACK = "127.0.0.1"

logger = logging.getLogger(__name__)


def choose_processes(asked: str | None, gpus: int) -> int:
    """As many as the user asked for, otherwise as many as there are GPUs, or one.

    Raises:
        InputError: not a number of processes, or more than there are GPUs: two processes on one GPU wait for each other
            and share its memory, and NCCL refuses them.
    """
    if not asked:
        return max(1, gpus)
    if not asked.isdigit() or int(asked) == 0:
        raise InputError(f"{PROCESSES_VARIABLE}={asked} is not a number of processes, such as 2")
    if gpus and int(asked) > gpus:
        raise InputError(
            f"{PROCESSES_VARIABLE}={asked}: each process needs a GPU of its own, and this host has {gpus} that can be "
            f"used; set {PROCESSES_VARIABLE}={gpus} or less, leave it out, or take a larger instance type"
        )
    return int(asked)


def wait_for_hosts(
    hosts: Sequence[str], within_s: float = HOSTS_APPEAR_WITHIN_S, tell_after_s: float = TELL_AFTER_S
) -> None:
    """Return once every host's name resolves. After a while a line of the log says which ones are awaited.

    Raises:
        ResourceError: names the hosts that do not.
    """
    started = time.monotonic()
    missing, told = list(hosts), False
    while missing := [host for host in missing if not resolves(host)]:
        seconds = time.monotonic() - started
        if seconds > within_s:
            raise ResourceError(
                f"these hosts of the job did not appear within {within_s:.0f} s: {', '.join(missing)}; "
                "see whether their containers started"
            )
        if seconds > tell_after_s and not told:
            told = True
            logger.warning(
                "The names of these hosts of the job do not resolve yet: %s; waiting for up to %.0f s",
                ", ".join(missing),
                within_s,
            )
        time.sleep(0.5)


def make_resolve(host: str, hosts_file: Path = _HOSTS_FILE) -> bool:
    """Give this host's name an address if it has none, as in a plain `docker run`; whether it has one now."""
    if resolves(host):
        return True
    try:
        with hosts_file.open("a", encoding="utf-8") as file:
            file.write(f"{_LOOPBACK}\t{host}\n")
    except OSError as error:
        logger.warning("The name of this host, %s, does not resolve, and %s: %s", host, hosts_file, error)
        return False
    logger.info("The name of this host, %s, did not resolve; %s now has it", host, hosts_file)
    return True


def resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
