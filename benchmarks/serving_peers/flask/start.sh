exec "$PYTHON" -m gunicorn --worker-class sync --workers "$CORES" --timeout 120 --bind "127.0.0.1:$PORT" \
    --no-control-socket server:app
