"""What the server asks of a model, whatever computes its predictions: our artifact, or the user's own script."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:  # importing them imports what decodes images, and the server answers before that
    from byoc_serve.request import RequestContext
    from byoc_vision.artifact import ModelConfig


class EncodedResponse(NamedTuple):
    """The body of a response and its media type. headers: further ones, by name."""

    body: bytes
    media_type: str
    status: int = 200
    headers: dict[str, str] | None = None


class Service(Protocol):
    """`predict` may run in many threads. All else belongs to one thread, the only one that touches the model."""

    @property
    def config(self) -> ModelConfig | None:
        """The model's config; None if only a script knows it."""

    def warm_up(self) -> None:
        """Make the first requests as fast as the next."""

    def run(self) -> None:
        """Compute what requests wait for, until `stop` and the last of them."""

    def stop(self) -> None:
        """Accept no more requests."""

    def predict(self, request: RequestContext) -> EncodedResponse:
        """The response to a request. Raises RequestError."""
