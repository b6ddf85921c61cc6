"""Gather what the demo came to, print it, and fail where it is not good enough."""

from __future__ import annotations

import json
import sys
from pathlib import Path

WANTED = {"segmentation": ("validation:dice", 0.95), "classification": ("validation:accuracy", 0.95)}
LEFT = {
    "picture.jpg": "the image that was posted",
    "mask.png": "the mask that the server answered",
    "overlay.png": "the mask over the image",
    "probabilities.json": "the classes that the server answered",
    "metrics.json": "the figures below",
}


def main(out: Path) -> int:
    figures = {task: json.loads((out / task / "model/model.json").read_text())["metrics"] for task in WANTED}
    (out / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n")
    print()
    for name, what in LEFT.items():
        print(f"{out / name}: {what}")
    good = True
    for task, (metric, least) in WANTED.items():
        reached = figures[task][metric]
        good &= reached >= least
        print(f"{task}: {metric} = {reached:.4f} (at least {least} expected)")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
