#!/usr/bin/env bash
# All measurements of serving, in one run of about twenty minutes. The machine should be idle.
#
#     benchmarks/serving.sh [OUTPUT_FOLDER]
#
# Uses .venv/bin/python, or PYTHON. Needs wrk; TorchServe and multi-model-server also need Java, and are left out without
# it. The first run installs the peers below ~/.cache/byoc-vision-benchmarks.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-benchmarks/results}
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH="$PWD/src:$PWD/serve${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 NO_ALBUMENTATIONS_UPDATE=1
command -v wrk > /dev/null || { echo "wrk is missing: apt-get install wrk" >&2; exit 1; }
mkdir -p "$output"

# SIGTERM first: each script ends its servers.
run() { timeout --kill-after 120 "$1" "$python" "${@:2}" || echo "$2: not finished (status $?, after $1 s at the most)"; }

"$python" benchmarks/serving_install.py
started=$SECONDS
echo "== start" && run 120 benchmarks/serving_startup.py --output "$output/serving_startup.json"
echo "== limit" && run 300 benchmarks/serving_limit.py --turns 2 --seconds 4 --output "$output/serving_limit.json"
echo "== peers" && run 1200 benchmarks/serving.py --turns 2 --seconds 3 --output "$output/serving.json"
echo "== memory" && run 300 benchmarks/serving_memory.py --output "$output/serving_memory.json"
echo "all of it took $((SECONDS - started)) s"
