"""Rules of tensors and steps, each on a small training that is built to have the fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from support.shared_steps import Bytes
from torch import Tensor, nn

from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.hyperparameters.health import HealthSettings
from byoc_vision.models.losses import build_loss
from byoc_vision.precision import choose_precision
from byoc_vision.report.record import Finding
from byoc_vision.training.batch_layout import Progress
from byoc_vision.training.callback import Callback
from byoc_vision.training.callbacks.step_watch import StepWatch
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Batch, Step

CPU = torch.device("cpu")
SIZE, COUNT, CLASSES = 8, 16, 3


def plain_net() -> nn.Sequential:
    """Convolution, ReLU, convolution, ReLU, answer; layers 1, 3 and 6 have weights."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, CLASSES)]
    return nn.Sequential(Bytes(), *layers)


def colours(step: int) -> Batch:
    """uint8 [16, 3, 8, 8]; the class is the brightest channel."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(CLASSES, (COUNT,), generator=generator)
    images = torch.randint(160, (COUNT, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    images[torch.arange(COUNT), labels] += 90
    return images, labels


def batches(count: int) -> list[Batch]:
    return [colours(step) for step in range(count)]


def run(
    net: nn.Module,
    taken: Iterable[Batch],
    *,
    optimizer: str = "sgd",
    learning_rate: float = 0.02,
    watched: bool = True,
    monitor: HealthMonitor | None = None,
) -> tuple[list[Finding], Tensor]:
    """Train an epoch; what the rules found, and the summed loss."""
    moved = build_optimizer(optimizer, net, learning_rate, weight_decay=0.0)
    schedule = build_schedule("constant", moved, total_steps=100, steps_per_epoch=100)
    precision = choose_precision("float32", CPU)
    # Not how long the process took so far: it is that of all tests.
    monitor = monitor or HealthMonitor(HealthSettings(actions={"MaxInitializationTime": "none"}))
    observer = StepWatch(
        monitor, net, net, moved, CPU, precision.autocast, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    loss = build_loss("cross_entropy", "softmax", task="classification")
    watch: Callback = observer if watched else Callback()
    step = Step(net, loss, moved, schedule, precision, precision.scaler(), CPU, callbacks=watch)
    progress = Progress()
    watch.epoch_begin(1, 0)
    step.begin()
    for batch in taken:
        progress.add(step([batch]), 1)
        if monitor.stopped_by:
            break
    watch.epoch_trained()
    return monitor.findings, progress.sums


def spoilt(spoil: Callable[[nn.Sequential], object]) -> nn.Sequential:
    """The plain network after `spoil` has changed its weights."""
    net = plain_net()
    with torch.no_grad():
        spoil(net)
    return net


def found(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.rule for finding in findings}) == len(findings)
    return {finding.rule: finding for finding in findings}


def test_on_a_healthy_training_no_rule_fires() -> None:
    findings, sums = run(plain_net(), batches(45))
    assert findings == []
    assert sums[0] / sums[1] < 1.0  # it learnt: random answers cost 1.1


def test_who_looks_on_changes_nothing() -> None:
    looked_at, alone = (nn.Sequential(*plain_net(), nn.Dropout(0.5)) for _ in range(2))
    for net, watched in ((looked_at, True), (alone, False)):
        torch.manual_seed(1)
        run(net, batches(30), watched=watched)
    for one, other in zip(looked_at.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_layer_where_a_value_exploded_is_named_in_the_step_where_it_did() -> None:
    net = spoilt(lambda net: net[3].weight.mul_(1e38).mul_(1e3))
    net[3].weight.data.clamp_(-3e38, 3e38)
    finding = found(run(net, batches(2))[0])["ExplodingTensor"]
    assert (finding.epoch, finding.step) == (1, 1)
    assert "it arose in 3 (Conv2d): the first layer whose output is not finite" in finding.evidence


def test_finding_the_layer_leaves_buffers_and_random_numbers_as_they_were() -> None:
    from byoc_vision.precision import choose_precision
    from byoc_vision.training.callbacks.step_watch import origin

    net = nn.Sequential(Bytes(), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 2, 1))
    nn.init.constant_(net[3].weight, 3e38)
    before, state = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    said = origin(net, colours(0)[0], choose_precision("float32", torch.device("cpu")).autocast())
    assert "3 (Conv2d)" in said
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_weights_that_are_lost_already_are_named() -> None:
    net = spoilt(lambda net: net[3].weight.fill_(float("nan")))
    assert "1 weights are not finite, the first of them 3.weight" in run(net, batches(1))[0][0].evidence


def test_a_gradient_that_explodes_under_a_loss_that_does_not() -> None:
    net = spoilt(lambda net: net[1].weight.mul_(1e-30))
    net.append(_Cliff())
    assert "the gradient of 6.weight is not finite" in found(run(net, batches(1))[0])["ExplodingTensor"].evidence


class _Cliff(nn.Module):
    """Passes its inputs on, with an infinite slope."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + (values * 0).abs().sqrt()  # type: ignore[no-any-return]


def test_a_dead_layer() -> None:
    """Nothing passes, so that what lies before gets no gradient and does not change."""
    findings = found(run(spoilt(lambda net: net[3].bias.fill_(-100)), batches(3))[0])
    assert findings.keys() == {"DeadRelu", "AllZero", "UnchangedTensor", "VanishingGradient"}
    assert "100% of 4" in findings["DeadRelu"].evidence
    assert "all values of 4 are zero" in findings["AllZero"].evidence
    for rule in ("UnchangedTensor", "VanishingGradient"):
        assert "1.weight" in findings[rule].evidence
        assert findings[rule].step == 3


@pytest.mark.parametrize(("channels", "fires"), [(10, True), (6, False)])
def test_a_layer_with_some_dead_channels(channels: int, fires: bool) -> None:
    findings = found(run(spoilt(lambda net: net[1].bias[:channels].fill_(-100)), batches(4))[0])
    assert ("DeadRelu" in findings) == fires


def test_a_threshold_of_the_job_counts() -> None:
    monitor = HealthMonitor(HealthSettings(thresholds={"DeadRelu": {"share": 0.3}}))
    net = spoilt(lambda net: net[1].bias[:6].fill_(-100))
    assert "DeadRelu" in found(run(net, batches(4), monitor=monitor)[0])


def test_a_gradient_that_vanishes_on_its_way() -> None:
    torch.manual_seed(0)
    deep = [layer for _ in range(9) for layer in (nn.Linear(192, 192), nn.Sigmoid())]
    net = nn.Sequential(Bytes(), nn.Flatten(), *deep, nn.Linear(192, CLASSES))
    finding = found(run(net, batches(3))[0])["VanishingGradient"]
    assert "2.weight" in finding.evidence
    assert "20.weight" not in finding.evidence


def test_steps_that_are_too_large_and_too_small() -> None:
    large = found(run(plain_net(), batches(2), optimizer="adam", learning_rate=10)[0])["WeightUpdateRatio"]
    assert "lower learning_rate" in large.remedy
    small = found(run(plain_net(), batches(3), optimizer="adam", learning_rate=1e-10)[0])
    assert "raise learning_rate" in small["WeightUpdateRatio"].remedy


def test_poor_weights_to_begin_with() -> None:
    assert "PoorWeightInitialization" in found(run(spoilt(lambda net: net[3].weight.mul_(1e5)), batches(1))[0])


def test_images_that_are_nearly_black() -> None:
    black = [(images // 20, labels) for images, labels in batches(1)]
    assert "should be near 0 ± 1" in found(run(plain_net(), black)[0])["CheckInputImages"].evidence


def test_a_step_whose_loss_leaps() -> None:
    images, labels = colours(0)
    wrong = (images, (labels + 1) % CLASSES)
    finding = found(run(plain_net(), [*batches(30), wrong], learning_rate=0.1)[0])["LossSpike"]
    assert finding.step == 31


def test_a_rule_that_stops_ends_the_training_after_its_step() -> None:
    monitor = HealthMonitor(HealthSettings(actions={"DeadRelu": "stop"}))
    seen = []

    def watched_batches():  # type: ignore[no-untyped-def]
        for batch in batches(6):
            seen.append(batch)
            yield batch

    run(spoilt(lambda net: net[3].bias.fill_(-100)), watched_batches(), monitor=monitor)
    assert len(seen) == 3
    assert monitor.stopped_by is not None
    assert monitor.stopped_by.rule == "DeadRelu"
