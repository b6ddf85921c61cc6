"""The check before training: reads images and masks, so that bad data end the job at once and by name."""

from byoc_vision.data.preflight.check import (
    CheckedDataset,
    check,
    check_dataset,
    find_and_check,
    inspect,
    log_or_raise,
    report_refusals,
    scan_part,
)
from byoc_vision.data.preflight.deferred_checks import check_split, error_naming_all
from byoc_vision.data.preflight.model_masks import check_labelled
from byoc_vision.data.preflight.scan import MaskCounts, ScanResult, count_masks, merge_scans
from byoc_vision.data.preflight.statistics import mask_classes
from byoc_vision.data.preflight.subsample import job_budget

__all__ = [
    "CheckedDataset",
    "MaskCounts",
    "ScanResult",
    "check",
    "check_dataset",
    "check_labelled",
    "check_split",
    "count_masks",
    "error_naming_all",
    "find_and_check",
    "inspect",
    "job_budget",
    "log_or_raise",
    "mask_classes",
    "merge_scans",
    "report_refusals",
    "scan_part",
]
