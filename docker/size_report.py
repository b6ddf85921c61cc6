"""Print the sizes of an image's layers and of its largest Python packages, as Markdown tables.

`make size` runs it. Sizes are of the unpacked files, in MB of 10⁶ bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys

LARGEST = 15
# The content of the layers of our Dockerfile; the first matching pattern counts.
SUBJECTS = (
    (r"COPY /opt/byoc/venv", "Python packages of docker/requirements.lock"),
    (r"CUDA_COMPAT", "NVIDIA's newer driver libraries for older hosts, if apt has them"),
    (r"apt-get install .*ca-certificates python3 ", "Python and certificates, from apt"),
    (r"MULTI_MODEL_SERVER|multi-model-server\.lock", "AWS's multi-model-server, if it was selected"),
    (r"mlflow\.lock", "MLflow's client, if it was selected"),
    (r"COPY container", "train, serve"),
    (r"/tmp/wheels", "byoc-vision"),
    (r"PRETRAINED", "pretrained weights, if they were selected"),
    (r"sbom\.py", "the list of packages and licences"),
)
MEASURE = """
import importlib.metadata, json, os
sizes = {}
for package in importlib.metadata.distributions():
    files = {str(file.locate()) for file in package.files or []}
    sizes[package.metadata["Name"]] = sum(os.lstat(file).st_size for file in files if os.path.lexists(file))
print(json.dumps(sizes))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image")
    parser.add_argument("--docker", default="docker", help="the docker client")
    arguments = parser.parse_args()
    try:
        layers = layer_sizes(arguments.docker, arguments.image)
        packages = package_sizes(arguments.docker, arguments.image)
    except subprocess.CalledProcessError as error:
        print(f"error: `{' '.join(error.cmd[:3])}` failed: {error.stderr.strip()}", file=sys.stderr)
        return 1
    total = sum(size for size, _ in layers)
    print(f"{arguments.image}: {total / 1e6:.0f} MB in {sum(size > 0 for size, _ in layers)} layers\n")
    print(table("layer", [(what, size) for size, what in layers if size >= 50_000]))
    print(table("Python package", sorted(packages.items(), key=lambda entry: -entry[1])[:LARGEST]))
    return 0


def layer_sizes(docker: str, image: str) -> list[tuple[int, str]]:
    """Bytes and content of each layer, the lowest first."""
    history = output(docker, "history", "--no-trunc", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", image)
    lines = [line.split("\t", 1) for line in reversed(history.splitlines())]
    return [(int(size), subject(command)) for size, command in lines]


def subject(command: str) -> str:
    for pattern, words in SUBJECTS:
        if re.search(pattern, command):
            return words
    plain = re.sub(r"^(RUN )?(\|\d+ .*?)?(/bin/sh -c )?(#\(nop\) )?|# buildkit$", "", command).strip()
    return f"base image: {plain[:60]}" if plain else "base image"


def package_sizes(docker: str, image: str) -> dict[str, int]:
    """Bytes of the files that each installed package names."""
    sizes = json.loads(output(docker, "run", "--rm", "--network", "none", image, "python", "-c", MEASURE))
    return {str(name): int(size) for name, size in sizes.items()}


def table(heading: str, rows: list[tuple[str, int]]) -> str:
    lines = [f"| {what.replace('|', ' ')} | {size / 1e6:.1f} |" for what, size in rows]
    return "\n".join([f"| {heading} | MB |", "| --- | ---: |", *lines, ""])


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
