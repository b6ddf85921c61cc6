"""Flask, PIL and eager PyTorch: a model in each process."""

from __future__ import annotations

import usual
from flask import Flask, Response, jsonify, request

app = Flask(__name__)
model = usual.load()


@app.post("/invocations")
def invocations() -> Response:
    (answer,) = usual.predict(model, [usual.open_image(request.data)])
    return Response(answer, content_type="image/png") if usual.SEGMENTS else jsonify(answer)
