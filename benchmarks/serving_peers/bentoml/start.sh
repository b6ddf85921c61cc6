# No telemetry.
export BENTOML_DO_NOT_TRACK=true BENTOML_HOME="$SCRATCH/bentoml"
exec "$BIN/bentoml" serve service:Service --working-dir "$PWD" --host 127.0.0.1 --port "$PORT"
