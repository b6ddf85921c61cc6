"""The HTTP side of SageMaker's hosting contract.

Source: "Use Your Own Inference Code with Hosting Services" in the SageMaker developer guide.
"""

from __future__ import annotations

from flask import Flask, Response

from byoc_serve.loader import Loader
from byoc_serve.metrics import Metrics, WorkerMetrics
from byoc_serve.page import add_page
from byoc_serve.response import error_response, invoke, json_response, new_app
from byoc_serve.settings import Settings


def create_app(
    settings: Settings, loader: Loader, metrics: WorkerMetrics | None = None, has_script: bool = False
) -> Flask:
    """The app around the model of a loader, which the caller starts and stops.

    metrics: this worker's; by default it is the only one. has_script: a script of the user's own serves, so that only
    it knows what requests may hold: there is no page, and no description of them.
    """
    app = new_app(settings, metrics or Metrics().worker(), lambda: loader.ready)
    app.extensions["loader"] = loader

    @app.get("/ping")
    def ping() -> Response:
        """Only reads flags: this must be quick however busy the model is."""
        if loader.failure is not None:
            return error_response(500, f"the model cannot be served: {loader.failure}")
        return Response(status=200 if loader.ready else 503)

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return json_response(settings.execution_parameters())

    @app.post("/invocations")
    def invocations() -> Response:
        return invoke(lambda request: loader.model.predict(request))

    @app.get("/openapi.json")
    def openapi() -> Response:
        from byoc_serve.openapi import describe  # not when the server starts: it imports what decodes images

        return json_response(describe(settings, loader.config, has_script))

    if settings.page and not has_script:
        add_page(app)
    return app
