#!/bin/sh
# Send an image to a running server and print the prediction: a PNG mask, or class probabilities.
#   sh local_test/predict.sh IMAGE [ACCEPT] [PORT] > PREDICTION
set -eu
[ $# -ge 1 ] || { sed -n 's/^#   /usage: /p' "$0" >&2; exit 2; }

curl --silent --show-error --fail-with-body \
    --header "Content-Type: application/x-image" --header "Accept: ${2:-*/*}" --data-binary "@$1" \
    "http://127.0.0.1:${3:-8080}/invocations"
