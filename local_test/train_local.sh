#!/bin/sh
# Train with the image as SageMaker does, on a folder from make_test_dir.py. The model is written to TEST_DIR/model,
# reports to TEST_DIR/output, and checkpoints, from which a second run resumes, to TEST_DIR/checkpoints.
#   sh local_test/train_local.sh IMAGE TEST_DIR
set -eu
[ $# -eq 2 ] || { sed -n 's/^#   /usage: /p' "$0" >&2; exit 2; }
. "$(dirname "$0")/sagemaker_run.sh"

root=$(cd "$2" && pwd)
mkdir -p "$root/model" "$root/output/data" "$root/checkpoints"
sagemaker_run --hostname algo-1 \
    --volume "$root/input:/opt/ml/input:ro" \
    --volume "$root/model:/opt/ml/model" \
    --volume "$root/output:/opt/ml/output" \
    --volume "$root/checkpoints:/opt/ml/checkpoints" \
    "$1" train
