#!/usr/bin/env bash
# Everything worth measuring on a GPU, in one run of less than nine minutes, from a bare checkout. `make test-gpu` tests.
#
#     benchmarks/gpu.sh [OUTPUT_FOLDER]
#
# Uses the machine's Python (PYTHON, default python3) and torch. Other packages are installed from the folder WHEELS if it
# is set; gpu_wheels.txt lists them. Prints each part's time and a short table at the end. Status 1 if a part failed.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-benchmarks/results}
python=${PYTHON:-python3}
export PYTHONPATH="$PWD/src:$PWD/serve${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 NO_ALBUMENTATIONS_UPDATE=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ -n ${WHEELS:-} ]]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" "$WHEELS"/*.whl
    export PYTHONPATH="$PYTHONPATH:$work/site"
fi
"$python" - <<'PYTHON'
import importlib.util
import sys

sys.path.insert(0, "tests/gpu")
from run import MODULES

missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"missing here: {', '.join(missing)}; put the wheels of benchmarks/gpu_wheels.txt into a folder and set WHEELS")
import torch

if not torch.cuda.is_available():
    sys.exit("no usable GPU; benchmarks/gpu_speed.py and train_throughput.py run on a CPU too")
print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
PYTHON

mkdir -p "$output"
name=$("$python" -c 'import re, torch; print(re.sub("[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-"))')
log=$work/log
failed=0

# run SECONDS SCRIPT ARGUMENTS: a crash is named as one, and is not taken for a lack of time.
run() {
    local limit=$1 started=$SECONDS status=0
    shift
    timeout --kill-after=5 "$limit" "$python" "$@" 2>&1 | tee -a "$log" || status=${PIPESTATUS[0]}
    local seconds=$((SECONDS - started)) outcome=done
    case $status in
        0) ;;
        124) outcome="not finished within $limit s" ;;
        129 | 1[345][0-9])
            outcome="crashed: SIG$(kill -l $((status - 128)))"
            [[ $status != 137 || $seconds -lt $limit ]] || outcome="not finished within $limit s, and killed"
            ;;
        *) outcome="failed with status $status" ;;
    esac
    [[ $status == 0 ]] || failed=1
    echo "== $1: $outcome, $seconds s" | tee -a "$log"
}

run 240 benchmarks/gpu_speed.py --seconds 190 --output "$output/gpu_speed_$name.json"
run 210 benchmarks/train_throughput.py --turns 2 --timm --output "$output/train_throughput_$name.json"
run 60 benchmarks/scaling.py --vary workers processes --most 8 --output "$output/scaling_$name.json"

echo
echo "== $name, $SECONDS s in all"
grep -E 'ours / synthetic|^(workers|processes) [0-9]+:|^[a-z]+ \([0-9]+ s\):|^== ' "$log"
exit "$failed"
