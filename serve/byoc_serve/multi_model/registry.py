"""The models in memory, by name."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock
from typing import TYPE_CHECKING, NamedTuple

from byoc_serve.multi_model import memory
from byoc_serve.multi_model.loaded_model import LoadedModel
from byoc_vision.errors import RequestError

if TYPE_CHECKING:
    from byoc_serve.model_service import ModelService

logger = logging.getLogger(__name__)


class Listed(NamedTuple):
    """A model that is loaded, and the path that it was loaded from."""

    name: str
    url: str


@dataclass
class _Place:
    """A name that is taken. resident: None while it is loaded. users: requests that are being answered."""

    url: str
    resident: LoadedModel | None = None
    leaving: bool = False
    users: int = 0


class Registry:
    """Loads models, lends them to requests, and unloads them; all of it from any thread.

    source: brings the model of a folder; it raises RequestError 507 where there is no room for it.
    patience: seconds that requests have to end in where their model is to be unloaded.
    """

    def __init__(self, source: Callable[[Path], ModelService], patience: float) -> None:
        self._source = source
        self._patience = patience
        self._places: dict[str, _Place] = {}
        self._changed = Condition()
        # One after the other: a model that is half loaded would be missing in what the next one finds free.
        self._loading = Lock()

    def load(self, name: str, folder: Path) -> None:
        """Load a model; it can be asked when this returns.

        Raises RequestError: 409 if the name is loaded or being loaded, and what `LoadedModel` raises; the name is free
        again then.
        """
        place = self._take(name, str(folder))
        try:
            with self._loading:
                resident = LoadedModel(lambda: self._source(folder), name="model")
                memory.give_back()  # as much as the model itself, which only loading it took
        except BaseException:
            self._leave(name)
            raise
        with self._changed:
            place.resident = resident
            self._changed.notify_all()
        logger.info("%d models are loaded; the last one is %s", len(self._places), name)

    def unload(self, name: str) -> None:
        """Let requests in flight end, and forget the model; its memory is free when this returns.

        Raises RequestError 404 where it is not loaded.
        """
        with self._changed:
            place = self._places.get(name)
            if place is None or place.resident is None or place.leaving:
                raise RequestError(404, f"no model {name!r} is loaded")
            place.leaving = True
            if not self._changed.wait_for(lambda: place.users == 0, self._patience):
                logger.warning("%s is unloaded while %d requests still use it", name, place.users)
            resident, place.resident = place.resident, None
        resident.stop()
        del resident
        memory.give_back()
        self._leave(name)
        logger.info("%s was unloaded", name)

    @contextmanager
    def lend(self, name: str, title: str | None = None) -> Iterator[LoadedModel]:
        """The model, which stays as long as the block takes.

        title: how errors call it, instead of its name. Raises RequestError: 404, or 503 while it is loaded.
        """
        with self._changed:
            place = self._places.get(name)
            if place is None or place.leaving:
                raise RequestError(404, f"no model {title or name!r} is loaded")
            if place.resident is None:
                raise RequestError(503, f"the model {title or name!r} is being loaded; try again soon")
            place.users += 1
            resident = place.resident
        try:
            yield resident
        finally:
            del resident
            with self._changed:
                place.users -= 1
                self._changed.notify_all()

    def find(self, name: str) -> Listed:
        """Raises RequestError 404 where the model is not loaded."""
        with self._changed:
            place = self._places.get(name)
            if place is None or not _is_loaded(place):
                raise RequestError(404, f"no model {name!r} is loaded")
            return Listed(name, place.url)

    def page(self, after: str | None, limit: int) -> tuple[list[Listed], bool]:
        """Up to `limit` loaded models by name, those after `after`; and whether there are more."""
        with self._changed:
            listed = sorted(Listed(name, place.url) for name, place in self._places.items() if _is_loaded(place))
        first = 0 if after is None else bisect_right([model.name for model in listed], after)
        return listed[first : first + limit], first + limit < len(listed)

    def start(self) -> None:
        """Make the process ready for models that come and go; to be called before it has threads."""
        memory.keep_one_heap()

    def stop(self) -> None:
        """Finish what was accepted, and end all threads."""
        with self._changed:
            residents = [place.resident for place in self._places.values() if place.resident is not None]
        for resident in residents:
            resident.stop()

    def _take(self, name: str, url: str) -> _Place:
        with self._changed:
            # Who loads a model that is just leaving wants it back; that it is there already would be a lie.
            self._changed.wait_for(lambda: name not in self._places or not self._places[name].leaving)
            if name in self._places:
                raise RequestError(409, f"the model {name!r} is loaded already, or being loaded")
            self._places[name] = place = _Place(url)
        return place

    def _leave(self, name: str) -> None:
        with self._changed:
            del self._places[name]
            self._changed.notify_all()


def _is_loaded(place: _Place) -> bool:
    return place.resident is not None and not place.leaving
