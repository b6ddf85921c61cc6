"""Whether the other hosts of a job still run. A collective would wait for them for its long timeout, or for ever.

Each host increments its own number in a small store on the first host, and reads the others'. A number that does not
change for too long means that the host is gone; a store that does not answer means that the network is cut. A host that
fails leaves its reason there, so that all hosts give the same one.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from byoc_vision.errors import ResourceError
from byoc_vision.launch.error_files import Failure

logger = logging.getLogger(__name__)

MASTER_PORT = 29_500  # where the processes of a job meet
HEARTBEAT_PORT = MASTER_PORT + 1
BEAT_SECONDS = 2.0
LOST_SECONDS = 40.0
TOLD_SECONDS = 5.0  # for the other hosts to read the reason, before the first host takes the store away
START_SECONDS = 300.0
_CAUSE = "cause"


class HostHeartbeat:
    """Watches the other hosts in two threads; calls `on_loss` once if one is gone or has failed."""

    def __init__(
        self,
        hosts: Sequence[str],
        current: str,
        on_loss: Callable[[], None],
        *,
        port: int = HEARTBEAT_PORT,
        beat_s: float = BEAT_SECONDS,
        lost_s: float = LOST_SECONDS,
    ) -> None:
        self.hosts = hosts
        self.current = current
        self.lost: list[str] = []
        self._on_loss = on_loss
        self._port = port
        self._beat_s = beat_s
        self._lost_s = lost_s
        self._told: Failure | None = None
        self._ended = threading.Event()
        self._store: TCPStore | None = None
        self._seen: dict[str, tuple[int, float]] = {}  # each host's number, and when it was first seen
        self._answered_at = time.monotonic()

    def __enter__(self) -> HostHeartbeat:
        if len(self.hosts) > 1:
            self._store = self._connect()
            self._answered_at = time.monotonic()
            for work in (self._beat, self._judge):
                threading.Thread(target=work, name="host-heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @property
    def alarmed(self) -> bool:
        """Whether another host is the reason why this one ends."""
        return bool(self.lost or self._told)

    def tell(self, cause: Failure) -> None:
        """Leave the reason of the failure for the other hosts."""
        if self._store is None or self.alarmed:
            return
        try:
            self._store.compare_set(_CAUSE, "", json.dumps(asdict(cause)))
        except RuntimeError as error:
            logger.info("The reason could not be sent to the other hosts: %s", error)
            return
        if self.current == self.hosts[0]:
            self._ended.wait(TOLD_SECONDS)

    def cause(self) -> Failure | None:
        """Why this host's processes ended, if another host is the reason. Waits a moment for that to be known."""
        if self._store is None:
            return None
        deadline = time.monotonic() + TOLD_SECONDS
        while not self.alarmed and time.monotonic() < deadline:
            self._ended.wait(self._beat_s / 10)
        if self._told:
            return self._told
        if not self.lost:
            return None
        error = ResourceError(
            f"the job's hosts lost each other: {', '.join(self.lost)} did not answer {self.current} for "
            f"{self._lost_s:.0f} s; see the logs of both, and whether one of them was taken away"
        )
        return Failure(f"{error.category} [on {self.current}]: {error}", error.exit_code, True)

    def _connect(self) -> TCPStore:
        first = self.hosts[0]
        try:
            return TCPStore(
                first,
                self._port,
                is_master=self.current == first,
                wait_for_workers=False,
                timeout=timedelta(seconds=START_SECONDS),
            )
        except RuntimeError as error:
            raise ResourceError(
                f"{self.current} does not reach {first} at port {self._port} ({error}); the hosts of a job must reach "
                "each other at every port: see the job's security groups"
            ) from error

    def _beat(self) -> None:
        """Increment the own number, and read the others'. If the network is cut, this waits for ever: see _judge."""
        assert self._store is not None
        while not self._ended.is_set():
            try:
                self._store.add(self.current, 1)
                numbers = {host: self._store.add(host, 0) for host in self.hosts}
                if self._store.check([_CAUSE]):
                    self._told = Failure(**json.loads(self._store.get(_CAUSE)))
                self._answered_at = time.monotonic()
            except RuntimeError as error:
                logger.debug("%s does not answer: %s", self.hosts[0], error)
            else:
                for host, number in numbers.items():
                    if self._seen.get(host, (-1, 0.0))[0] != number:
                        self._seen[host] = (number, self._answered_at)
            self._ended.wait(self._beat_s)

    def _judge(self) -> None:
        looked = time.monotonic()
        while not self._ended.wait(self._beat_s):
            now = time.monotonic()
            stood_still, looked = now - looked > self._lost_s / 2, now
            if stood_still:  # this host, and its own beats with it
                continue
            if now - self._answered_at > self._lost_s:
                self.lost = [self.hosts[0]]
            else:
                self.lost = [
                    host for host, (number, since) in list(self._seen.items()) if number and now - since > self._lost_s
                ]
            if self.alarmed:
                logger.error("Lost: %s", ", ".join(self.lost) or "another host has failed")
                self._on_loss()
                return
