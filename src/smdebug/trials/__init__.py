"""Reading what a job has recorded."""

from smdebug.trials.trial import LocalTrial, Tensor, create_trial

__all__ = ["LocalTrial", "Tensor", "create_trial"]
