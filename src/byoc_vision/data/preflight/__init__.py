"""Every picture and mask is decoded once before training, so that bad data end a job at once and by name."""

from byoc_vision.data.preflight.check import Checked, check, check_labelled, find_and_check, inspect, log_and_judge

__all__ = ["Checked", "check", "check_labelled", "find_and_check", "inspect", "log_and_judge"]
