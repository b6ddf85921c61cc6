"""Collect and print the demo's results; exit with status 1 if a metric is too low."""

from __future__ import annotations

import json
import sys
from pathlib import Path

REQUIRED = {"segmentation": ("validation:dice", 0.95), "classification": ("validation:accuracy", 0.95)}
RESULTS = {
    "picture.jpg": "the image that was posted",
    "mask.png": "the mask that the server predicted",
    "overlay.png": "the mask over the image",
    "probabilities.json": "the class probabilities that the server predicted",
    "metrics.json": "the metrics below",
}


def main(out: Path) -> int:
    metrics = {task: json.loads((out / task / "model/model.json").read_text())["metrics"] for task in REQUIRED}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print()
    for name, what in RESULTS.items():
        print(f"{out / name}: {what}")
    good = True
    for task, (metric, minimum) in REQUIRED.items():
        value = metrics[task][metric]
        good &= value >= minimum
        print(f"{task}: {metric} = {value:.4f} (at least {minimum} required)")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
