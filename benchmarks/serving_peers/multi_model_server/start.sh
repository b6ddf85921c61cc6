mkdir -p "$SCRATCH/service"
cp service.py "$SCRATCH/service"
"$BIN/model-archiver" --force \
    --model-name net --model-path "$SCRATCH/service" --handler service:handle --export-path "$SCRATCH"
cat > "$SCRATCH/config.properties" <<PROPERTIES
inference_address=http://127.0.0.1:$PORT
management_address=http://127.0.0.1:$PORT_2
default_workers_per_model=$CORES
default_response_timeout=120
model_store=$SCRATCH
load_models=net.mar
PROPERTIES
cd "$SCRATCH" # where its logs go
exec "$BIN/multi-model-server" --foreground --mms-config "$SCRATCH/config.properties"
