"""The recipes under examples/, laid out as jobs on the real pictures."""

from __future__ import annotations

from pathlib import Path

from byoc_vision.paths import MlPaths

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def lay_out(root: Path, channels: dict[str, Path], recipe: str) -> MlPaths:
    """A job below `root` with the hyperparameters of a recipe; its channels are links to the pictures."""
    paths = MlPaths(root)
    paths.channels.mkdir(parents=True)
    for name, source in channels.items():
        paths.channel(name).symlink_to(source)
    paths.hyperparameters.parent.mkdir(parents=True)
    paths.hyperparameters.write_bytes((EXAMPLES / recipe / "hyperparameters.json").read_bytes())
    return paths


def weights(folder: Path, name: str, target: Path) -> Path:
    """A `pretrained` channel with one file."""
    target.mkdir()
    (target / name).symlink_to(folder / "weights" / name)
    return target
