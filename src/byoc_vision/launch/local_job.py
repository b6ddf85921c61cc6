"""A job on this machine: `byoc-vision train DATA`, and what is wrong with a `--root` that is not a job's folder."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from byoc_vision.atomic_write import write_whole
from byoc_vision.data.formats import find_dataset
from byoc_vision.data.formats.channels import channels_in
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.errors import InputError
from byoc_vision.job import Channel, Job
from byoc_vision.paths import DEFAULT_ROOT, MlPaths

_MOST_NAMES = 6


def local_paths(data: Path, output: Path | None) -> MlPaths:
    """The folders of a job that trains on `data`: `output`, or DATA-job beside the data.

    Raises:
        InputError: there is no such data, or the output is inside the data or holds something else.
    """
    if not data.is_dir():
        problem = "is a file" if data.exists() else "does not exist"
        raise InputError(f"{data} {problem}; name the folder of the images: byoc-vision train DATA")
    if (data / "input/data").is_dir():
        raise InputError(f"{data} is a job's folder: byoc-vision train --root {data}")
    whole = Path(os.path.abspath(data))
    root = Path(os.path.abspath(output)) if output else whole.with_name(f"{whole.name}-job")
    if root.resolve().is_relative_to(data.resolve()):
        raise InputError(
            f"--output {root} is inside the data, where the next job would read it; name a folder outside {data}"
        )
    if root.exists() and not root.is_dir():
        raise InputError(f"--output {root} is a file; name a folder")
    paths = MlPaths(root)
    if root.is_dir() and not is_job(paths) and any(root.iterdir()):
        raise InputError(f"--output {root} is neither empty nor a job's folder (it holds {_holds(root)}); name another")
    return paths


def local_job(paths: MlPaths, data: Path) -> Job:
    """The job whose channels are in `data`, which is one folder of images or one of channels."""
    folder = Path(os.path.abspath(data))
    channels = {name: Channel(name, path) for name, path in channels_in(folder).items()}
    return Job(replace(paths, data_folder=folder), channels)


def find_before_writing(job: Job, options: DataOptions, *, quiet: bool) -> Dataset:
    """The samples, found before a folder is created. Raises UserError as `find_dataset` does.

    quiet: another process finds them again, and logs it.
    """
    if quiet:
        logging.disable(logging.WARNING)
    try:
        return find_dataset(job.folders, options)
    finally:
        logging.disable(logging.NOTSET)


def note_inputs(job: Job, given: Mapping[str, str]) -> None:
    """Write the job's inputs into its folder: the hyperparameters, and links to the data. Images are not copied.

    Raises:
        InputError: the folder is of a job on other data.
    """
    paths = MlPaths(job.paths.root)
    for name, folder in job.folders.items():
        link = paths.channel(name)
        if link.is_symlink() and link.resolve() == folder.resolve():
            continue
        if link.is_symlink() or link.exists():
            raise InputError(
                f"{paths.root} is of a job on other data ({link.resolve()}); name another folder with --output"
            )
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
    paths.hyperparameters.parent.mkdir(parents=True, exist_ok=True)
    write_whole(paths.hyperparameters, json.dumps(dict(given), indent=2) + "\n")


def is_job(paths: MlPaths) -> bool:
    """Whether the folder is a job's already. A folder that is not is left as it is if the job fails."""
    inside = (paths.root / "input/data", paths.hyperparameters.parent, paths.output_data.parent, paths.model)
    return paths.root == Path(DEFAULT_ROOT) or any(path.is_dir() for path in inside)


def check_root(paths: MlPaths) -> None:
    """Raises InputError that says where the channels were looked for, what is there, and which command works."""
    has_channels = paths.channels.is_dir() and any(path.is_dir() for path in paths.channels.iterdir())
    if has_channels or paths.input_data_config.exists():
        return
    nearest = next(path for path in (paths.channels, *paths.channels.parents) if path.is_dir())
    problem = f"{nearest} holds {_holds(nearest)}"
    if nearest != paths.channels:
        problem = f"{paths.channels} does not exist; {problem}"
    images = nearest if nearest in (paths.channels, paths.root) and any(nearest.iterdir()) else "DATA"
    raise InputError(
        f"the channel 'train' is missing: {problem}. Put the images into {paths.channel('train')}, or train on a "
        f"folder of images anywhere: byoc-vision train {images}"
    )


def _holds(folder: Path) -> str:
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    shown = ", ".join(names[:_MOST_NAMES]) or "nothing"
    return f"{shown}, … ({len(names)} in all)" if len(names) > _MOST_NAMES else shown
