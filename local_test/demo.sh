#!/bin/sh
# The whole path on drawn images: draw them, train a U-Net and a classifier with the same `train` that SageMaker calls,
# serve each model, send it an image with curl. The results are written to demo/.
#   sh local_test/demo.sh [BYOC_VISION]      default: .venv/bin/byoc-vision
set -eu

byoc_vision=${1:-.venv/bin/byoc-vision}
python=$(dirname "$byoc_vision")/python
out=demo
port=${DEMO_PORT:-8199}
here=$(dirname "$0")

rm -rf "$out"
mkdir -p "$out"
"$byoc_vision" sample-data --output "$out/pictures"

# job TASK HYPERPARAMETERS: create a folder with the layout of SageMaker's /opt/ml, and train.
job() {
    mkdir -p "$out/$1/input/config" "$out/$1/input"
    printf '%s\n' "$2" > "$out/$1/input/config/hyperparameters.json"
    ln -s "$PWD/$out/pictures/$1" "$out/$1/input/data"
    printf '\n== train: %s\n' "$1"
    "$byoc_vision" train --root "$out/$1"
}

# ask TASK IMAGE ACCEPT OUTPUT: start the server with the trained model, send the image, stop the server.
ask() {
    printf '\n== serve: %s\n' "$1"
    "$byoc_vision" serve --root "$out/$1" --port "$port" > "$out/$1/serve.log" 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null || true' EXIT
    tries=0
    until curl -sf "http://127.0.0.1:$port/ping"; do
        tries=$((tries + 1))
        if [ $tries -gt 120 ] || ! kill -0 $server 2>/dev/null; then
            cat "$out/$1/serve.log"
            echo "the server did not start" >&2
            exit 1
        fi
        sleep 0.5
    done
    curl -sf --data-binary "@$2" -H "Content-Type: image/jpeg" -H "Accept: $3" \
        -o "$4" "http://127.0.0.1:$port/invocations"
    kill $server
    wait $server || true
    trap - EXIT
}

job segmentation '{"model": "unet_small", "image_size": "96", "epochs": "8", "batch_size": "8", "learning_rate": "0.003"}'
picture=$(find "$out/pictures/segmentation/validation" -name '*.jpg' | sort | head -n 1)
cp "$picture" "$out/picture.jpg"
ask segmentation "$out/picture.jpg" image/png "$out/mask.png"
"$byoc_vision" predict --model "$out/segmentation/model" --overlay --output "$out/predicted" "$out/picture.jpg"
mv "$out/predicted/picture.overlay.png" "$out/overlay.png"

job classification '{"model": "resnet18", "image_size": "64", "epochs": "9", "batch_size": "16", "learning_rate": "0.002"}'
picture=$(find "$out/pictures/classification/validation" -name '*.jpg' | sort | head -n 1)
ask classification "$picture" application/json "$out/probabilities.json"

"$python" "$here/demo_summary.py" "$out"
