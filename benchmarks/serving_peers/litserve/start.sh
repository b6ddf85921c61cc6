exec "$PYTHON" server.py
