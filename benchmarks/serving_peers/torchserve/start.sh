# One worker per core; batches of up to eight, 10 ms of waiting.
if [ "$TASK" = classification ]; then handler=image_classifier; else handler=$PWD/segmenter.py; fi
"$PYTHON" - <<'PYTHON'
import json, os
classes = json.load(open(os.environ["MODEL"] + "/model.json"))["classes"]
json.dump(dict(enumerate(classes)), open(os.environ["SCRATCH"] + "/index_to_name.json", "w"))
PYTHON
"$BIN/torch-model-archiver" --force \
    --model-name net --version 1.0 --model-file "$PWD/model.py" --serialized-file "$MODEL/weights.pt" \
    --extra-files "$SCRATCH/index_to_name.json" --handler "$handler" --export-path "$SCRATCH"
cat > "$SCRATCH/config.properties" <<PROPERTIES
inference_address=http://127.0.0.1:$PORT
management_address=http://127.0.0.1:$PORT_2
metrics_address=http://127.0.0.1:$PORT_3
grpc_inference_port=$PORT_4
grpc_management_port=$PORT_5
disable_token_authorization=true
model_store=$SCRATCH
models={"net": {"1.0": {"defaultVersion": true, "marName": "net.mar", "minWorkers": $CORES, "maxWorkers": $CORES, \
"batchSize": 8, "maxBatchDelay": 10, "responseTimeout": 120}}}
load_models=net.mar
PROPERTIES
cd "$SCRATCH" # where its logs go
exec "$BIN/torchserve" --foreground --ts-config "$SCRATCH/config.properties" \
    --model-store "$SCRATCH" --models net.mar
