"""Every image and mask is decoded once before training, so that bad data end a job at once and by name."""

from byoc_vision.data.preflight.check import (
    Checked,
    check,
    check_found,
    check_labelled,
    find_and_check,
    inspect,
    log_and_judge,
    read_part,
    refusals_reported,
)
from byoc_vision.data.preflight.deferred_checks import check_split, name_all
from byoc_vision.data.preflight.scan import Survey, joined
from byoc_vision.data.preflight.subsample import job_budget

__all__ = [
    "Checked",
    "Survey",
    "check",
    "check_found",
    "check_labelled",
    "check_split",
    "find_and_check",
    "inspect",
    "job_budget",
    "joined",
    "log_and_judge",
    "name_all",
    "read_part",
    "refusals_reported",
]
