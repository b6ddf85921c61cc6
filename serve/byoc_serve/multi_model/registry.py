"""The models in memory, by name."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock
from typing import TYPE_CHECKING

from byoc_serve import memory
from byoc_serve.multi_model.loaded_model import LoadedModel
from byoc_vision.errors import RequestError

if TYPE_CHECKING:
    from byoc_serve.service import Service

logger = logging.getLogger(__name__)


@dataclass
class _Entry:
    """A name that is taken. model: None while it is being loaded. users: requests in flight."""

    url: str
    model: LoadedModel | None = None
    unloading: bool = False
    users: int = 0


class Registry:
    """Loads models, gives requests access to them, and unloads them; from any thread.

    source: loads the model of a folder; raises RequestError 507 if memory does not suffice.
    unload_timeout: seconds that requests have to end when their model is unloaded.
    """

    def __init__(self, source: Callable[[Path], Service], unload_timeout: float) -> None:
        self._source = source
        self._unload_timeout = unload_timeout
        self._entries: dict[str, _Entry] = {}
        self._changed = Condition()
        # One after the other: the memory of a half loaded model would look free to the next one.
        self._loading = Lock()

    def load(self, name: str, folder: Path) -> None:
        """Load a model; it is ready when this returns.

        Raises RequestError: 409 if the name is loaded or being loaded, and what `LoadedModel` raises; the name is free
        again then.
        """
        entry = self._add(name, str(folder))
        try:
            with self._loading:
                model = LoadedModel(lambda: self._source(folder))
                memory.release_unused()  # loading took about twice the model's size
        except BaseException:
            self._remove(name)
            raise
        with self._changed:
            entry.model = model
            self._changed.notify_all()
        logger.info("%d models are loaded; the last one is %s", len(self._entries), name)

    def unload(self, name: str) -> None:
        """Let requests in flight end, and unload the model; its memory is free when this returns.

        Raises RequestError 404 if it is not loaded.
        """
        with self._changed:
            entry = self._entries.get(name)
            if entry is None or entry.model is None or entry.unloading:
                raise RequestError(404, f"no model {name!r} is loaded")
            entry.unloading = True
            if not self._changed.wait_for(lambda: entry.users == 0, self._unload_timeout):
                logger.warning("%s is unloaded while %d requests still use it", name, entry.users)
            model, entry.model = entry.model, None
        model.stop()
        del model
        memory.release_unused()
        self._remove(name)
        logger.info("%s was unloaded", name)

    @contextmanager
    def acquire(self, name: str, title: str | None = None) -> Iterator[LoadedModel]:
        """The model, which stays loaded until the block ends.

        title: its name in errors, instead of `name`. Raises RequestError: 404, or 503 while it is being loaded.
        """
        with self._changed:
            entry = self._entries.get(name)
            if entry is None or entry.unloading:
                raise RequestError(404, f"no model {title or name!r} is loaded")
            if entry.model is None:
                raise RequestError(503, f"the model {title or name!r} is being loaded; try again soon")
            entry.users += 1
            model = entry.model
        try:
            yield model
        finally:
            del model
            with self._changed:
                entry.users -= 1
                self._changed.notify_all()

    def find(self, name: str) -> str:
        """The path that a model was loaded from. Raises RequestError 404 if it is not loaded."""
        with self._changed:
            entry = self._entries.get(name)
            if entry is None or not _is_loaded(entry):
                raise RequestError(404, f"no model {name!r} is loaded")
            return entry.url

    def page(self, after: str | None, limit: int) -> tuple[list[tuple[str, str]], bool]:
        """Up to `limit` loaded models by name, those after `after`, each with its path; and whether there are more."""
        with self._changed:
            listed = sorted((name, entry.url) for name, entry in self._entries.items() if _is_loaded(entry))
        first = 0 if after is None else bisect_right([name for name, _ in listed], after)
        return listed[first : first + limit], first + limit < len(listed)

    def start(self) -> None:
        """Prepare the process for models that come and go; to be called before its first thread starts."""
        memory.keep_one_heap()

    def stop(self) -> None:
        """Finish what was accepted, and end all threads."""
        with self._changed:
            models = [entry.model for entry in self._entries.values() if entry.model is not None]
        for model in models:
            model.stop()

    def _add(self, name: str, url: str) -> _Entry:
        with self._changed:
            # A model that is being unloaded is not "loaded already".
            self._changed.wait_for(lambda: name not in self._entries or not self._entries[name].unloading)
            if name in self._entries:
                raise RequestError(409, f"the model {name!r} is loaded already, or being loaded")
            self._entries[name] = entry = _Entry(url)
        return entry

    def _remove(self, name: str) -> None:
        with self._changed:
            del self._entries[name]
            self._changed.notify_all()


def _is_loaded(entry: _Entry) -> bool:
    return entry.model is not None and not entry.unloading
