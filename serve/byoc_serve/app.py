"""The HTTP side of SageMaker's hosting contract.

Source: "Use Your Own Inference Code with Hosting Services" in the SageMaker developer guide.
"""

from __future__ import annotations

from flask import Flask, Response

from byoc_serve.loader import Loader
from byoc_serve.responses import error_response, invoke, json_response, report_errors
from byoc_serve.settings import Settings


def create_app(settings: Settings, loader: Loader) -> Flask:
    """The app around a model that `loader` brings; whoever calls this starts and stops the loader."""
    app = Flask(__name__, static_folder=None)
    app.extensions["loader"] = loader
    report_errors(app)

    @app.get("/ping")
    def ping() -> Response:
        """Only flags are read: this must be quick however busy the model is."""
        if loader.failure is not None:
            return error_response(500, f"the model cannot be served: {loader.failure}")
        return Response(status=200 if loader.ready else 503)

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return json_response(settings.execution_parameters())

    @app.post("/invocations")
    def invocations() -> Response:
        return invoke(lambda environ, stream: loader.model.invoke(environ, stream))

    return app
