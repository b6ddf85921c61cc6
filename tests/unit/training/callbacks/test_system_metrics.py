"""Looks at the machine that runs the test, and at made-up files of the kernel."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from support.tracked import record_of

from byoc_vision.system.machine import busy_seconds
from byoc_vision.system.memory import memory_limit
from byoc_vision.training.callbacks.system_metrics import CpuUsage, GpuUsage, SystemMetrics

CPU = torch.device("cpu")
GIB = 2**30
RECORD = record_of(0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_job_is_read_from_its_first_epoch_to_its_end() -> None:
    before = set(threading.enumerate())
    metrics = SystemMetrics(CPU, interval=0.05)
    metrics.epoch_begin(1, 0)
    while len(metrics.readings) < 3:
        time.sleep(0.01)
    metrics.train_end(RECORD)
    found = metrics.readings
    assert [reading.seconds for reading in found] == sorted(reading.seconds for reading in found)
    assert all(reading.cpu is not None and 0 <= reading.cpu <= 1 for reading in found)
    limit = metrics.memory_limit
    assert limit is not None
    assert all(reading.memory is not None and 0 < reading.memory < limit for reading in found)
    assert all(reading.gpu is None and reading.gpu_memory is None for reading in found)
    assert "system-metrics" not in {thread.name for thread in set(threading.enumerate()) - before}
    metrics.train_end(RECORD)
    assert metrics.readings == found


def test_a_short_job_has_one_reading() -> None:
    clock = Clock()
    metrics = SystemMetrics(CPU, interval=60, clock=clock)
    metrics.epoch_begin(1, 0)
    clock.now = 0.15
    metrics.train_end(RECORD)
    assert len(metrics.readings) == 1


def test_a_job_that_ends_before_its_first_epoch_has_none() -> None:
    metrics = SystemMetrics(CPU)
    metrics.train_end(RECORD)
    assert metrics.readings == []


@pytest.mark.parametrize("most", [8, 9])
def test_readings_thin_out_and_cover_the_whole_job(most: int) -> None:
    clock = Clock()
    metrics = SystemMetrics(CPU, most=most, clock=clock)
    began, intervals = clock.now, set()
    for second in range(1, 1000):
        clock.now = float(second)
        if (second - began) % metrics.interval == 0:
            metrics.read()
            intervals.add(metrics.interval)
            seconds = [reading.seconds + metrics._began for reading in metrics.readings]
            assert len(seconds) <= most
            assert seconds[-1] == pytest.approx(second)
    assert len(intervals) > 5
    gaps = {round(later - earlier) for earlier, later in itertools.pairwise(seconds)}
    assert len(gaps) <= 2, "evenly spread"


def test_a_reading_costs_nothing_that_matters() -> None:
    metrics = SystemMetrics(CPU)
    began = time.thread_time()
    for _ in range(100):
        metrics.read()
    assert (time.thread_time() - began) / 100 < 0.005  # of each second


def test_work_is_seen() -> None:
    """A process that computes for a while, beside others that may compute too."""
    gauge, clock = CpuUsage(cores=1), time.monotonic()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    busy = gauge()
    assert busy is not None
    assert busy >= min(1.0, 0.3 / (time.monotonic() - clock)) * 0.8


def test_the_share_of_the_cores() -> None:
    clock, work = Clock(), Clock()
    gauge = CpuUsage(work, clock, cores=4)
    assert gauge() is None, "no time has passed"
    clock.now, work.now = 10.0, 20.0
    assert gauge() == pytest.approx(0.5)
    clock.now, work.now = 11.0, 40.0
    assert gauge() == 1.0


def test_the_kernels_files(tmp_path: Path) -> None:
    v2, v1 = tmp_path / "cpu.stat", tmp_path / "cpuacct.usage"
    whole_machine = busy_seconds(v2, [v1])
    assert whole_machine > 0
    v1.write_text("7000000000\n")
    assert busy_seconds(v2, [tmp_path / "none", v1]) == pytest.approx(7.0)
    v2.write_text("usage_usec 5000000\nuser_usec 1\nsystem_usec 2\n")
    assert busy_seconds(v2, [v1]) == pytest.approx(5.0)


def test_the_limit_of_memory(tmp_path: Path) -> None:
    facts = tmp_path / "meminfo"
    assert memory_limit(facts, tmp_path) is None
    facts.write_text(f"MemTotal: {16 * GIB // 1024} kB\n")
    assert memory_limit(facts, tmp_path) == 16 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit(facts, tmp_path) == 16 * GIB
    (tmp_path / "memory.max").write_text(f"{4 * GIB}\n")
    assert memory_limit(facts, tmp_path) == 4 * GIB


def test_there_is_no_gpu_on_a_cpu() -> None:
    assert GpuUsage.of(CPU) is None
