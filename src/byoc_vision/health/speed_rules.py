"""Rules of speed: what slows the training, and what of the machine is idle."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from byoc_vision.health.facts import EpochFacts, Loading, Waiting
from byoc_vision.health.rule import Rule, Sign, Threshold
from byoc_vision.report.record import Times

_GIB = 1024**3


class _Waiting(Rule[EpochFacts]):
    """The training waits for images: for whatever takes the most time to make one ready."""

    facts = EpochFacts
    evidence = "the share of the epoch, and the milliseconds that reading, decoding and augmenting an image take"
    share = Threshold(0.1, "the share of an epoch's time, from the second epoch on")
    seconds = Threshold(1.0, "seconds of an epoch: less is how every epoch begins")

    def judge(self, facts: EpochFacts) -> Sign | None:
        waiting = facts.waiting
        if waiting is None or facts.last.epoch < 2:  # in the first the cache is filled and the processes start
            return None
        if waiting.share <= self.share or waiting.seconds < self.seconds:
            return None
        loading = waiting.loading()
        if not self._is_mine(loading):
            return None
        return Sign(
            f"the epoch waited for images for {waiting.share:.0%} of its time; {described(loading)}",
            severity=waiting.share,
            remedy=self._remedy(waiting),
        )

    def _is_mine(self, loading: Loading) -> bool:
        raise NotImplementedError

    def _remedy(self, waiting: Waiting) -> str:
        return ""


class CPUBottleneck(_Waiting):
    """The training waits for images, and the time goes into decoding or augmenting them."""

    remedy = "cache=auto, more num_workers, a lighter augmentation, or more cores; the line says which of them"

    def _is_mine(self, loading: Loading) -> bool:
        return not is_slow_disk(loading)

    def _remedy(self, waiting: Waiting) -> str:
        return waiting.remedy


class IOBottleneck(_Waiting):
    """The training waits for images, and the time goes into reading their files."""

    remedy = (
        "set cache=disk (the instance's own disk is read from the second epoch on), take File mode instead of "
        "FastFile, or RecordIO instead of many small files"
    )

    def _is_mine(self, loading: Loading) -> bool:
        return is_slow_disk(loading)


class BatchSize(Rule[EpochFacts]):
    """Neither the GPU nor its memory is in full use: a larger batch would be faster."""

    facts = EpochFacts
    evidence = "the 95th percentiles of the GPU's use and memory, and the batch size"
    remedy = "raise batch_size (auto_batch_size=true finds the largest) and learning_rate with it"
    use = Threshold(0.7, "the 95th percentile of the GPU's use, 0–1")
    memory = Threshold(0.7, "the 95th percentile of its memory in use, as a share of all")
    readings = Threshold(60, "readings before it is judged")

    def judge(self, facts: EpochFacts) -> Sign | None:
        used, memory, limit = gpu_use(facts.times), gpu_memory(facts.times), facts.times.gpu_memory_limit
        if len(used) < self.readings or len(memory) < self.readings or not limit:
            return None
        busy, full = percentile(used, 95), percentile(memory, 95) / limit
        if busy >= self.use or full >= self.memory:
            return None
        return Sign(
            f"at batch_size={facts.batch_size} the GPU is used to {busy:.0%} and its memory to {full:.0%} "
            f"of {limit / _GIB:.0f} GiB"
        )


class LowGPUUtilization(Rule[EpochFacts]):
    """The GPU is idle for much of the time."""

    facts = EpochFacts
    evidence = "the 95th and the 5th percentile of its use, and the share of the time spent waiting for images"
    remedy = "see CPUBottleneck or IOBottleneck if they fired; otherwise a larger batch_size, or a smaller instance"
    high = Threshold(0.7, "the 95th percentile of its use, 0–1: below, it is never busy")
    median = Threshold(0.3, "its median use, 0–1: below, it is idle most of the time")
    readings = Threshold(60, "readings before it is judged")

    def judge(self, facts: EpochFacts) -> Sign | None:
        used = gpu_use(facts.times)
        if len(used) < self.readings:
            return None
        high, middle, low = percentile(used, 95), statistics.median(used), percentile(used, 5)
        if high >= self.high and middle >= self.median:
            return None
        waits = f", {facts.waiting.share:.0%} of the time it waited for images" if facts.waiting else ""
        return Sign(f"the GPU's use is {high:.0%} at the 95th percentile, {low:.0%} at the 5th{waits}")


class GPUMemoryIncrease(Rule[EpochFacts]):
    """The GPU's memory in use grows from epoch to epoch."""

    facts = EpochFacts
    evidence = "the most memory of each of the epochs"
    remedy = (
        "the job may run out of it: lower batch_size, and report it, since nothing should grow after the first epoch"
    )
    share = Threshold(0.05, "the growth over these epochs, as a share")
    epochs = Threshold(3, "epochs in a row in which it grew, the first epoch apart")

    def judge(self, facts: EpochFacts) -> Sign | None:
        peaks = facts.peaks[1:][-int(self.epochs) - 1 :]  # in the first epoch buffers and caches fill
        if len(peaks) <= self.epochs or not all(before < after for before, after in pairwise(peaks)):
            return None
        growth = peaks[-1] / peaks[0] - 1 if peaks[0] else 0.0
        if growth <= self.share:
            return None
        shown = ", ".join(f"{peak / _GIB:.2f}" for peak in peaks)
        return Sign(f"the last epochs took {shown} GiB at the most: {growth:.0%} more", severity=growth)


class LoadBalancing(Rule[EpochFacts]):
    """One process waits for its images far longer than the others, and they wait for it."""

    facts = EpochFacts
    evidence = "the process that waits the most, its share of the time, and the others' mean"
    remedy = (
        "see what else runs on its host, whether its disk is slower, and with sharded channels whether its images "
        "are larger"
    )
    share = Threshold(0.2, "its share of the time beyond the others' mean, 0–1")

    def judge(self, facts: EpochFacts) -> Sign | None:
        shares = facts.waiting.shares if facts.waiting else ()
        if len(shares) < 2 or facts.last.epoch < 2:
            return None
        most = max(range(len(shares)), key=lambda rank: shares[rank])
        others = (sum(shares) - shares[most]) / (len(shares) - 1)
        if shares[most] - others <= self.share:
            return None
        return Sign(
            f"process {most} waits for images for {shares[most]:.0%} of the time, the others for {others:.0%}",
            severity=shares[most] - others,
        )


def is_slow_disk(loading: Loading) -> bool:
    return loading.disk > loading.decode + loading.augment


def described(loading: Loading) -> str:
    """What takes the time to load an image."""
    milliseconds = {
        "to read its file": loading.disk,
        "to take it from the cache" if loading.cached else "to decode and resize it": loading.decode,
        "to augment it": loading.augment,
    }
    shown = ", ".join(f"{1000 * seconds:.1f} ms {what}" for what, seconds in milliseconds.items() if seconds)
    return f"an image takes {shown}"


def gpu_use(times: Times) -> list[float]:
    return [reading.gpu for reading in times.readings if reading.gpu is not None]


def gpu_memory(times: Times) -> list[float]:
    return [float(reading.gpu_memory) for reading in times.readings if reading.gpu_memory is not None]


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


RULES: tuple[type[Rule[EpochFacts]], ...] = (
    CPUBottleneck,
    IOBottleneck,
    BatchSize,
    LowGPUUtilization,
    GPUMemoryIncrease,
    LoadBalancing,
)
