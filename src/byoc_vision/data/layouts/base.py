"""What a data layout is. A new one is a class of this shape, listed in `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from byoc_vision.data.layouts.channels import Split
from byoc_vision.data.samples import DataClass, Sample
from byoc_vision.models.spec import Task


@dataclass(frozen=True)
class Found:
    """The samples of each split, by its name, and the classes where the layout names them."""

    samples: Mapping[str, tuple[Sample, ...]]
    classes: tuple[DataClass, ...] = ()


class Layout(Protocol):
    """A way to lay out pictures and their truth in folders.

    title: completes "the data are …".
    tree: an example to imitate, shown in errors.
    """

    task: Task
    title: str
    tree: str

    def recognise(self, split: Split) -> bool:
        """Whether a split is laid out this way, judged by names alone."""
        ...

    def read(self, splits: Mapping[str, Split], classes: Sequence[DataClass] = ()) -> Found:
        """All samples. Raises DataError that names every offender.

        classes: those of a model, where the labels are to be its; else the training split names them.
        """
        ...
