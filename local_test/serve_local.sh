#!/bin/sh
# Serve the model in TEST_DIR/model with the image, as SageMaker does, on port PORT of this machine. Ctrl-C stops it.
#   sh local_test/serve_local.sh IMAGE TEST_DIR [PORT]
set -eu
[ $# -ge 2 ] || { sed -n 's/^#   /usage: /p' "$0" >&2; exit 2; }
. "$(dirname "$0")/sagemaker_run.sh"

root=$(cd "$2" && pwd)
sagemaker_run --publish "127.0.0.1:${3:-8080}:8080" --volume "$root/model:/opt/ml/model:ro" "$1" serve
