"""Every picture and mask is decoded once before training, so that bad data end a job at once and by name."""

from byoc_vision.data.preflight.check import Checked, check, check_labelled, find_and_check, inspect, log_and_judge
from byoc_vision.data.preflight.late import check_split, name_all
from byoc_vision.data.preflight.selection import job_budget

__all__ = [
    "Checked",
    "check",
    "check_labelled",
    "check_split",
    "find_and_check",
    "inspect",
    "job_budget",
    "log_and_judge",
    "name_all",
]
