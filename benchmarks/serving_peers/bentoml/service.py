"""BentoML: a service with a worker for each core. Its adaptive batching answered some requests with errors."""

from __future__ import annotations

import os
from typing import Annotated

import bentoml
import usual
from bentoml.validators import ContentType
from PIL.Image import Image

Answer = Annotated[bytes, ContentType("image/png")] if usual.SEGMENTS else dict[str, float]


@bentoml.service(workers=int(os.environ["CORES"]), traffic={"timeout": 120})
class Service:
    def __init__(self) -> None:
        self.model = usual.load()

    @bentoml.api(route="/invocations")
    def invocations(self, image: Image, /) -> Answer:  # type: ignore[valid-type]
        return usual.predict(self.model, [image.convert("RGB")])[0]
