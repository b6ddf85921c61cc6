"""What the library could make of tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class ReductionConfig:
    """Accepted and ignored: values are recorded whole, and tensors are not recorded."""

    reductions: Iterable[str] = ()
    abs_reductions: Iterable[str] = ()
    norms: Iterable[str] = ()
    abs_norms: Iterable[str] = ()
    save_raw_tensor: bool = False
    save_shape: bool = False
