"""Create a folder with the layout of SageMaker's /opt/ml, for train_local.sh and for `byoc-vision train --root`.

    python3 local_test/make_test_dir.py /tmp/cars \
        --channel train=data/cars/train --channel validation=data/cars/validation epochs=5 image_size=256

Without channels it uses drawn images, from `byoc-vision sample-data`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

BYOC_VISION = Path(__file__).resolve().parent.parent / ".venv/bin/byoc-vision"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--channel", type=name_and_value, action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument(
        "--task",
        choices=("segmentation", "classification"),
        default="segmentation",
        help="the task of the drawn images",
    )
    parser.add_argument("hyperparameters", type=name_and_value, nargs="*", metavar="NAME=VALUE")
    options = parser.parse_intermixed_args()

    if (options.folder / "input").exists():
        parser.error(f"{options.folder}/input exists already; remove it, or choose another folder")
    channels = {name: Path(folder) for name, folder in options.channel}
    if missing := [str(folder) for folder in channels.values() if not folder.is_dir()]:
        parser.error(f"no such folder: {', '.join(missing)}")
    if channels:
        make(options.folder, channels, dict(options.hyperparameters))
    else:
        with tempfile.TemporaryDirectory() as drawings:
            subprocess.run([BYOC_VISION, "sample-data", "--output", drawings], check=True)
            channels = {channel.name: channel for channel in sorted(Path(drawings, options.task).iterdir())}
            make(options.folder, channels, dict(options.hyperparameters))
    sys.stdout.write(f"{options.folder}\n")


def name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def make(folder: Path, channels: dict[str, Path], hyperparameters: dict[str, str]) -> None:
    config = folder / "input/config"
    config.mkdir(parents=True)
    for name in ("model", "output/data", "checkpoints"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, source in channels.items():
        shutil.copytree(source, folder / "input/data" / name, copy_function=link_or_copy)
    write_json(config / "hyperparameters.json", hyperparameters)
    write_json(config / "inputdataconfig.json", {name: {"TrainingInputMode": "File"} for name in channels})
    write_json(
        config / "resourceconfig.json",
        {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"},
    )


def link_or_copy(source: str, target: str) -> None:
    """Create a hard link, which takes neither time nor space, or a copy if the file system is another one."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
