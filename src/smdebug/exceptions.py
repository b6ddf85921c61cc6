"""The exceptions of a trial."""

from __future__ import annotations


class SMDebugError(Exception):
    """The base of the others."""


class TensorUnavailable(SMDebugError):  # noqa: N818 - the library's own name
    """No such name was recorded."""


class TensorUnavailableForStep(SMDebugError):  # noqa: N818
    """The name was recorded, but not at this step."""


class StepUnavailable(SMDebugError):  # noqa: N818
    """The step was not recorded."""


class StepNotYetAvailable(SMDebugError):  # noqa: N818
    """The step is not recorded yet."""


class NoMoreData(SMDebugError):  # noqa: N818
    """The job has ended before this step."""


class MissingCollectionFiles(SMDebugError):  # noqa: N818
    """The folder holds no values."""


class InvalidCollectionConfiguration(SMDebugError):  # noqa: N818
    """A collection has no name."""
