"""How an image may be fitted into the model's input. Apart from preprocess.py, so that a name needs no OpenCV."""

from __future__ import annotations

from typing import Literal

ResizeRule = Literal["stretch", "letterbox", "short_side"]
