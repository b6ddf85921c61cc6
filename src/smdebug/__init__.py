"""A stand-in for smdebug, the library of SageMaker Debugger, which AWS has retired and which cannot be installed beside
today's protobuf: scripts that begin with `import smdebug.pytorch as smd` run unchanged.

It records losses and scalars for each mode, in lines of JSON, and `smdebug.trials.create_trial` reads them. Tensors,
reductions, rules and the profiler are not recorded. In the image it stands behind site-packages on Python's path: a
job that installs the real one gets the real one.
"""

from smdebug.core.collection import CollectionKeys
from smdebug.core.missing import refuse
from smdebug.core.modes import ModeKeys as modes  # noqa: N813 - the library's own name
from smdebug.core.reduction_config import ReductionConfig
from smdebug.core.save_config import SaveConfig, SaveConfigMode

__version__ = "0.0+byoc"
__all__ = ["CollectionKeys", "ReductionConfig", "SaveConfig", "SaveConfigMode", "modes"]


def __getattr__(name: str) -> None:
    refuse(__name__, name)
