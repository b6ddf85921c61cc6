#!/usr/bin/env bash
# Everything worth measuring on a GPU, in one run of less than ten minutes, from a bare checkout.
#
#     benchmarks/gpu.sh [OUTPUT_FOLDER]
#
# Uses the machine's Python (PYTHON, default python3) and torch. Other missing packages are installed from the folder
# WHEELS if it is set; otherwise they are listed. Prints a short table at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-benchmarks/results}
python=${PYTHON:-python3}
export PYTHONPATH="$PWD/src:$PWD/serve${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 NO_ALBUMENTATIONS_UPDATE=1

if [[ -n ${WHEELS:-} ]]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$WHEELS"/*.whl
    export PYTHONPATH="$PYTHONPATH:$site"
fi
"$python" - <<'PYTHON'
import importlib.util
import sys

needed = ("torch", "torchvision", "cv2", "PIL", "numpy", "pydantic", "albumentations", "timm",
          "segmentation_models_pytorch", "torchmetrics", "safetensors", "tqdm")
missing = [name for name in needed if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"missing here: {', '.join(missing)}; install them, or put their wheels into a folder and set WHEELS")
import torch

if not torch.cuda.is_available():
    sys.exit("no usable GPU; benchmarks/train_throughput.py runs on a CPU too")
print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
PYTHON

mkdir -p "$output"
name=$("$python" -c 'import re, torch; print(re.sub("[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-"))')
log=$(mktemp)
run() { timeout "$1" "$python" "${@:2}" 2>&1 | tee -a "$log" || echo "$2: not finished within $1 s" | tee -a "$log"; }

run 90 -m pytest -q -p no:cacheprovider tests/unit/training/test_evaluation.py tests/unit/test_precision.py
run 300 benchmarks/train_throughput.py --turns 2 --timm --output "$output/train_throughput_$name.json"
run 100 benchmarks/train_throughput.py --turns 1 --recipes unet resnet50 --cudnn-benchmark \
    --output "$output/train_throughput_cudnn_benchmark_$name.json"
run 60 benchmarks/scaling.py --vary workers processes --most 8 --output "$output/scaling_$name.json"

echo
echo "== $name"
grep -E 'ours / synthetic|^(workers|processes) [0-9]+:|passed|failed|not finished' "$log"
rm -f "$log"
