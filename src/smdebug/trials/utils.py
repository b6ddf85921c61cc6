"""Where the library has `create_trial`, too."""

from smdebug.trials.trial import create_trial

__all__ = ["create_trial"]
