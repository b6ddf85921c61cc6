"""The server's start and end: gunicorn's master with the settings."""

from __future__ import annotations

import logging
import os
import resource
import signal
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from byoc_serve.metrics import Metrics
from byoc_serve.multi_model.mms import serve_with_mms
from byoc_serve.readiness import Readiness, State
from byoc_serve.scripts.source import Script, prepared_script
from byoc_serve.settings import Settings
from byoc_serve.worker import STOPS, Worker
from byoc_vision.logs import redact_lines_of, set_up_logging
from byoc_vision.paths import MlPaths
from byoc_vision.system.machine import sleep_between_regions, visible_gpus

GRACE_SECONDS = 25  # SageMaker kills 30 s after SIGTERM
HANG_SECONDS = 120  # after which a worker whose main loop stands still is replaced
KEEP_ALIVE_SECONDS = 65  # longer than load balancers (60 s), so that they close a connection, not the server
MAX_CONNECTIONS = 4096
OTHER_FILES = 128
MAX_FAILED_STARTS = 3
START_EXIT_CODE = 4  # ResourceError's: mostly a worker is killed while loading because memory ran out

logger = logging.getLogger(__name__)


def serve(paths: MlPaths, port: int | None = None) -> int:
    """Serve the model of `paths` until SIGTERM; the process's exit status.

    Raises InputError if an environment variable is wrong, or needs what this image does not have.
    """
    settings = Settings.from_environment(os.environ, paths.root, port)
    settings = settings.model_copy(update={"workers": _workers(settings)})
    set_up_logging(settings.logging_level, as_json=settings.log_format == "json")
    sleep_between_regions()
    if settings.multi_model and settings.multi_model_server == "mms":
        return serve_with_mms(settings)
    if settings.multi_model:
        return _run(Server(settings))
    with prepared_script(settings.model, os.environ) as script:
        return _run(Server(settings, script))


def _run(server: Server) -> int:
    master = os.getpid()
    try:
        server.run()
    except SystemExit as end:
        if os.getpid() != master:
            raise  # in a worker: its status says to gunicorn whether to start another
        return server.readiness.exit_code or int(end.code or 0)
    return 0


class SignalSafeArbiter(Arbiter):
    """gunicorn's master. Signals that stop a worker wait until the worker can handle them.

    gunicorn forks a worker with its master's handlers, which queue a signal for the master: one that comes before the
    worker has its own is lost, and the worker is killed after GRACE_SECONDS.
    """

    def spawn_worker(self) -> None:
        held_back = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            super().spawn_worker()  # see Worker.init_signals
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held_back)


class Server(BaseApplication):
    """What gunicorn's master runs with, and what its workers share."""

    def __init__(self, settings: Settings, script: Script | None = None) -> None:
        self.settings = settings
        self.script = script
        self.readiness = Readiness(settings.workers)
        self.metrics = Metrics(settings.workers)
        self._failed_starts = 0
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        raise NotImplementedError("the worker creates the app, see Worker.load_wsgi")

    def run(self) -> None:
        """As gunicorn's, with an arbiter of our own."""
        SignalSafeArbiter(self).run()

    def _options(self) -> dict[str, Any]:
        settings = self.settings
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return {
            "proc_name": "byoc-serve",
            "bind": f"0.0.0.0:{settings.port}",
            "worker_class": Worker,
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_connections": max(settings.threads + 1, min(MAX_CONNECTIONS, open_files - OTHER_FILES)),
            "timeout": HANG_SECONDS,
            "graceful_timeout": GRACE_SECONDS,
            "keepalive": KEEP_ALIVE_SECONDS,
            "worker_tmp_dir": _memory_folder(),
            "loglevel": settings.log_level,
            "logger_class": JsonLogger if settings.log_format == "json" else TextLogger,
            "control_socket_disable": True,
            # Headers of proxies are not read, and so no client's address is compared with theirs.
            "forwarded_allow_ips": "*",
            "secure_scheme_headers": {},
            "forwarder_headers": "",
            "pre_fork": self._give_slot,
            "child_exit": self._count_failed_starts,
        }

    def _give_slot(self, arbiter: Arbiter, worker: Worker) -> None:
        taken = {other.slot for other in arbiter.WORKERS.values()}
        free = (slot for slot in range(self.settings.workers) if slot not in taken)
        worker.slot = next(free, 0)
        self.readiness[worker.slot] = State.STARTING

    def _count_failed_starts(self, arbiter: Arbiter, worker: Worker) -> None:
        """gunicorn replaces workers that die; one that dies whenever it loads the model would be replaced for ever.

        A worker with many models would be replaced by one without models, and the platform would not notice.
        """
        if self.settings.multi_model and arbiter.LISTENERS:  # empty when the server is stopping
            raise HaltServer("the process was killed, and its models are gone; give it more memory", START_EXIT_CODE)
        self._failed_starts = 0 if self.readiness[worker.slot] is State.READY else self._failed_starts + 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise HaltServer(
                f"the process ended {MAX_FAILED_STARTS} times while it loaded the model. The lines above say why; "
                "if it was killed, give it more memory",
                START_EXIT_CODE,
            )


class TextLogger(Logger):
    """gunicorn's messages, without the user info of URLs: it has handlers of its own."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        redact_lines_of(self.error_log)
        redact_lines_of(self.access_log)


class JsonLogger(Logger):
    """gunicorn's messages as JSON like all others, not in its own format on a stream of its own."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def _workers(settings: Settings) -> int:
    """A multi-model server has one: another process would not know which models the first has loaded."""
    return 1 if settings.multi_model else settings.workers or max(1, visible_gpus(os.environ))


def _memory_folder() -> str | None:
    """The folder of the workers' heartbeat files: on slow or shared disks, writing them can stall a worker."""
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() and os.access(folder, os.W_OK) else None
