"""Reading what a job has recorded."""

from smdebug.core.missing import refuse
from smdebug.trials.trial import LocalTrial, Tensor, create_trial

Trial = LocalTrial
__all__ = ["LocalTrial", "Tensor", "Trial", "create_trial"]


def __getattr__(name: str) -> None:
    refuse(__name__, name)
