"""What can be wrong before a process is started; the rest is in tests/slow/test_interruption.py."""

from __future__ import annotations

import os
from pathlib import Path

from byoc_vision.job import Job
from byoc_vision.paths import MlPaths
from byoc_vision.training.failure import report_failures
from byoc_vision.training.launch import launch


def test_hosts_that_do_not_appear_stand_in_the_failure_file(tmp_path: Path) -> None:
    job = Job(MlPaths(tmp_path), hosts=("localhost", "no-such-host.invalid"), current_host="localhost")
    before = dict(os.environ)
    assert report_failures(job.paths.failure, lambda: launch(job, ["train"], hosts_within_s=0)) == 4
    failure = job.paths.failure.read_text()
    assert failure.startswith("Resources: these hosts of the job did not appear within 0 s: no-such-host.invalid")
    assert dict(os.environ) == before
