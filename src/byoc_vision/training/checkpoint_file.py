"""Checkpoints on disk: whole or absent.

A checkpoint is one safetensors file: the tensors, and the rest as JSON in its header, with a checksum over both. It is
written beside its place, flushed to the disk, and renamed; older ones are removed only after that. The best model so
far has a file of its own, since it seldom changes. Reading executes no code of the writer, as unpickling would.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from byoc_vision.atomic_write import free_bytes, give_usual_mode
from byoc_vision.errors import InputError, ResourceError

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_VERSION_KEY = "byoc_vision_checkpoint"
_NAME = re.compile(r"(checkpoint|best)-(\d{8}|[1-9]\d{8,})\.safetensors")
_WRITING = ".writing"
_LEFTOVER = re.compile(r"(probe|\.(checkpoint|best)-\d{8,}\.safetensors)\.writing")

OR_START_AGAIN = (
    "or start again: empty the checkpoint folder (checkpoint_s3_uri), give another one, or set resume=never"
)


class TornError(Exception):
    """A file is not whole."""


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints in a folder, numbered in the order they were written; the last `keep` of them stay.

    The folder may hold other files, also ones with the name of a checkpoint, torn or foreign: they are left alone, and
    do not count.
    """

    folder: Path
    keep: int = 2

    def prepare(self) -> None:
        """Make the folder, and remove what an interrupted write left.

        Raises ResourceError if it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():
                if _LEFTOVER.fullmatch(path.name) and path.is_file():
                    path.unlink()
            probe = self.folder / f"probe{_WRITING}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ResourceError(
                f"{self.folder}: checkpoints cannot be written there ({error.strerror}); make the folder writable, or "
                "set checkpoint_keep=0 to train without checkpoints"
            ) from error

    def numbers(self, kind: str = "checkpoint") -> list[int]:
        """The numbers in the names of the checkpoints, or of the `best` models, ascending; not all need be whole."""
        if not self.folder.is_dir():
            return []
        found = ((path, _NAME.fullmatch(path.name)) for path in self.folder.iterdir())
        return sorted(int(match[2]) for path, match in found if match and match[1] == kind and path.is_file())

    def whole(self, kind: str = "checkpoint") -> list[int]:
        """Of the `numbers` those of files that this package wrote, as far as the headers show."""
        return [number for number in self.numbers(kind) if self._header(number, kind) is not None]

    def path(self, number: int, kind: str = "checkpoint") -> Path:
        return self.folder / f"{kind}-{number:08d}.safetensors"

    def next_number(self) -> int:
        """Above those of all whole files, and free."""
        number = max([0, *self.whole(), *self.whole("best")]) + 1
        while any(map(os.path.lexists, self._taken_by(number))):
            number += 1
        return number

    def _taken_by(self, number: int) -> list[Path]:
        paths = [self.path(number, kind) for kind in ("checkpoint", "best")]
        return paths + [_beside(path) for path in paths]

    def write(self, content: Mapping[str, Any], best: Mapping[str, Any] | None, best_number: int | None) -> int | None:
        """Add a checkpoint, and before it the `best` model if there is a new one; remove what is no longer needed.

        Returns the number of the best model that the checkpoint goes with: `best_number`, or the new one's.
        Raises ResourceError that names the folder; what was there before stays.
        """
        number = self.next_number()
        try:
            if best is not None:
                write_file(self.path(number, "best"), best)
                best_number = number
            write_file(self.path(number), {**content, "best_number": best_number})
            self._prune(best_number)
        except (OSError, SafetensorError) as error:
            raise ResourceError(
                f"{self.path(number)}: the checkpoint could not be written ({error}); {_bytes_of(content, best):,} "
                f"bytes are needed, {free_bytes(self.folder) or 0:,} are free. The one before is intact. Give "
                "the job a larger volume, or set checkpoint_keep=1, or 0 to train without checkpoints"
            ) from error
        return best_number

    def newest(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, with its best model as `best`; torn ones are named in the log and passed over.

        Raises InputError for one that another version of this package wrote in another format.
        """
        for number in reversed(self.numbers()):
            try:
                content = read_file(self.path(number))
                best_number = content["best_number"]
                content["best"] = None if best_number is None else read_file(self.path(best_number, "best"))
            except TornError as error:
                logger.warning("A checkpoint is not whole and is passed over: %s", error)
                continue
            logger.info("Found the checkpoint %s", self.path(number))
            return content
        return None

    def _prune(self, best_number: int | None) -> None:
        """Remove all but the last `keep` checkpoints, and the best models that none of them goes with."""
        whole = self.whole()
        kept = whole[-self.keep :]
        for number in whole:
            if number not in kept:
                self.path(number).unlink()
        headers = [self._header(number) for number in kept]
        needed = {best_number, *(header["best_number"] for header in headers if header is not None)}
        for number in self.whole("best"):
            if number not in needed:
                self.path(number, "best").unlink()

    def _header(self, number: int, kind: str = "checkpoint") -> dict[str, Any] | None:
        """The content without its tensors; None if the file is torn, foreign, or another version's."""
        try:
            return read_file(self.path(number, kind), tensors=False)
        except (TornError, InputError):
            return None


def write_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content`, nested values with tensors, so that `path` is whole or not there."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(pack(dict(content), tensors))
    metadata = {_VERSION_KEY: str(FORMAT_VERSION), "content": text, "checksum": f"{_checksum(text, tensors):08x}"}
    beside = _beside(path)
    try:
        save_file(tensors, beside, metadata)
        give_usual_mode(beside)
        _flush(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _flush(path.parent)


def read_file(path: Path, tensors: bool = True) -> dict[str, Any]:
    """The content of a file that `write_file` wrote; without `tensors` their places hold None, and none is checked.

    Raises TornError if it is not whole or not a checkpoint, and InputError if its format is another version's.
    """
    try:
        path.open("rb").close()  # of a file that may not be read safetensors says that it is not there
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            loaded: dict[str, Any] = {name: file.get_tensor(name) if tensors else None for name in names}
    except (OSError, SafetensorError) as error:
        raise TornError(f"{path} ({error})") from error
    version, text = metadata.get(_VERSION_KEY), metadata.get("content")
    if version is None:
        raise TornError(f"{path} (this package did not write it)")
    if version != str(FORMAT_VERSION):
        raise InputError(
            f"{path} has the format {version}; this image reads {FORMAT_VERSION}. Resume it "
            f"with the image that wrote it, {OR_START_AGAIN}"
        )
    if text is None or (tensors and f"{_checksum(text, loaded):08x}" != metadata.get("checksum")):
        raise TornError(f"{path} (its checksum is wrong)")
    try:
        content: dict[str, Any] = unpack(json.loads(text), loaded)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TornError(f"{path} (its header is damaged: {error})") from error
    if not isinstance(content, dict):
        raise TornError(f"{path} (its header is damaged)")
    return content


def _bytes_of(*contents: Mapping[str, Any] | None) -> int:
    """Of all their tensors."""
    tensors: dict[str, Tensor] = {}
    for place, content in enumerate(contents):
        pack(dict(content or {}), tensors, str(place))
    return sum(tensor.nbytes for tensor in tensors.values())


def _beside(path: Path) -> Path:
    """Where a file is written before it is renamed."""
    return path.with_name(f".{path.name}{_WRITING}")


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> int:
    value = zlib.crc32(text.encode())
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, value)
    return value


def _flush(path: Path) -> None:
    """Have the disk hold what was written: without it, a rename may outlive the bytes it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pack(value: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """`value` as JSON; its tensors go into `tensors`, contiguous, under the path that leads to them.

    Dictionaries (with keys of any plain type), lists, tuples, numbers, strings and None come back as they were.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, pack(item, tensors, f"{name}.{key}".lstrip("."))] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [pack(item, tensors, f"{name}.{index}") for index, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a {type(value).__name__} cannot be stored")


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that `pack` took apart."""
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    match kind:
        case "tensor":
            return tensors[content]
        case "dict":
            return {key: unpack(item, tensors) for key, item in content}
        case "tuple":
            return tuple(unpack(item, tensors) for item in content)
        case "list":
            return [unpack(item, tensors) for item in content]
    raise ValueError(f"{kind} is not a kind of value")


def on_cpu(value: Any) -> Any:
    """A copy of `value` whose tensors lie in main memory and share nothing with the original."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(item) for item in value)
    return value
