"""Exports a trained model to a folder that another runtime can serve."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from torch import nn

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.atomic_write import check_new_folder
from byoc_vision.errors import DataError, InputError, ResourceError
from byoc_vision.export import preprocessing
from byoc_vision.export.comparison import TOLERANCE, Comparison, compare
from byoc_vision.export.conversion import conversion
from byoc_vision.export.example_script import FILE as EXAMPLE_FILE
from byoc_vision.export.example_script import example_script
from byoc_vision.export.formats import FORMATS
from byoc_vision.models.build import build_model
from byoc_vision.progress import alive

_WRITTEN = 2.2  # bytes written per byte of weights, at most: TorchScript is written twice, alone and in an archive


class Exported(NamedTuple):
    """The folder that was written, and the comparison of its model with the original."""

    folder: Path
    comparison: Comparison


def export_model(source: Path, format_name: str, output: Path | None = None) -> Exported:
    """Write an artifact (a folder or a tarball) in one of FORMATS to the folder `output`.

    Also writes preprocessing.json and example.py. The folder appears only if the exported model's predictions equal
    the original's.

    Args:
        source: The artifact.
        format_name: One of FORMATS.
        output: A new or empty folder; by default `SOURCE-FORMAT` beside the source.

    Raises:
        InputError: The format is unknown, `output` is not empty, a package is missing, the network cannot be
            converted, or the predictions differ.
        DataError: The artifact is damaged.
        ResourceError: The disk has too little space.
    """
    module = _module(format_name)
    output = output or default_output(source, format_name)
    check_new_folder(output)
    net, config = _load(source)
    with _folder_beside(output) as folder:
        check_room(folder, round(_WRITTEN * sum(tensor.nbytes for tensor in net.state_dict().values())))
        with conversion(config, format_name), alive(f"exporting to {format_name}"):
            facts = module.write(net, config, folder)
            seen = compare(net, config, module.load(folder))
        _check_comparison(seen, format_name)
        about = preprocessing.describe(config, format_name, module.FILE, facts, seen)
        text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
        (folder / preprocessing.FILE).write_text(text, encoding="utf-8")
        (folder / EXAMPLE_FILE).write_text(example_script(config, format_name), encoding="utf-8")
        if output.is_dir():
            output.rmdir()
        folder.rename(output)
    return Exported(output, seen)


def default_output(source: Path, format_name: str) -> Path:
    """`job/model-onnx` for `job/model` and for `job/model.tar.gz`."""
    whole = Path(os.path.abspath(source))
    return whole.with_name(f"{whole.name.removesuffix('.gz').removesuffix('.tgz').removesuffix('.tar')}-{format_name}")


def _module(name: str) -> ModuleType:
    """The format's module, with FILE, `write` and `load`. It is imported here because its library takes seconds."""
    if name not in FORMATS:
        raise InputError(f"the format {name} is not known; use one of {', '.join(FORMATS)}")
    return importlib.import_module(f"byoc_vision.export.{name.replace('-', '_')}")


def _load(source: Path) -> tuple[nn.Module, ModelConfig]:
    config, state = artifact.load(source)
    net = build_model(config.model)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"{source}: the weights do not fit the model in {artifact.CONFIG_FILE}: {error}") from error
    return net.eval(), config


def check_room(folder: Path, needed: int) -> None:
    """Raises ResourceError if the disk of `folder` has less free space: converters' own errors for it are obscure."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{folder.parent} has {free / 1e6:,.0f} MB free, and the export needs {needed / 1e6:,.0f} MB; free space, "
            "or set --output to another disk"
        )


def _check_comparison(seen: Comparison, format_name: str) -> None:
    if not seen.is_close:
        raise InputError(
            f"the {format_name} model's predictions differ from the original's: the largest difference of its logits "
            f"is {seen.largest:.3g} ({seen.share:.2%} of their standard deviation; allowed: {TOLERANCE:.2%}), for the "
            f"reference image {seen.image!r} in a batch of {seen.batch}. Nothing was written; use another format"
        )


@contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """A hidden folder on the disk of `output`; it is removed at the end unless it was renamed."""
    parent = output.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=parent, ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch, output.name)
            folder.mkdir()
            yield folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceError(f"the disk of {parent} is full; free space, or set --output to another disk") from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or error.errno == errno.EROFS:
            raise InputError(f"{parent} cannot be written to ({error.strerror}); set another --output") from error
        raise
