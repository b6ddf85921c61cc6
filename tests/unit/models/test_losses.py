from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from byoc_vision.errors import InputError
from byoc_vision.models.losses import LOSSES, Activation, build_loss

IGNORED = 255
KINDS: list[Activation] = ["sigmoid", "softmax"]


def masks(activation: Activation, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and class indices of two small images."""
    generator = torch.Generator().manual_seed(seed)
    classes = 2 if activation == "sigmoid" else 3
    logits = torch.randn(2, 1 if activation == "sigmoid" else 3, 4, 5, generator=generator)
    return logits, torch.randint(0, classes, (2, 4, 5), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("activation", KINDS)
@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def test_takes_indices_of_one_byte_or_eight(self, name: str, activation: Activation) -> None:
        logits, targets = masks(activation)
        loss = build_loss(name, activation)
        assert loss(logits, targets) == loss(logits, targets.long())

    def test_what_is_ignored_counts_nowhere(self, name: str, activation: Activation) -> None:
        logits, targets = masks(activation)
        loss = build_loss(name, activation)
        ignored = targets.clone()
        ignored[0, :2] = IGNORED
        changed = logits.clone()
        changed[0, :, :2] = 1000 * torch.randn(changed[0, :, :2].shape)
        assert loss(changed, ignored) == loss(logits, ignored) != loss(logits, targets)

    def test_where_all_is_ignored_it_is_nought_and_so_are_the_gradients(
        self, name: str, activation: Activation
    ) -> None:
        logits, targets = masks(activation)
        logits.requires_grad_()
        loss = build_loss(name, activation)(logits, torch.full_like(targets, IGNORED))
        loss.backward()
        assert loss == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    def test_the_right_answer_costs_next_to_nothing_and_the_wrong_one_much(
        self, name: str, activation: Activation
    ) -> None:
        _, targets = masks(activation)
        right = answer(activation, targets.long())
        wrong = answer(activation, (targets.long() + 1) % (2 if activation == "sigmoid" else 3))
        loss = build_loss(name, activation)
        assert loss(right, targets).item() == pytest.approx(0, abs=1e-3)
        assert loss(wrong, targets).item() > 0.5

    def test_it_is_computed_in_float32_also_under_autocast(self, name: str, activation: Activation) -> None:
        logits, targets = masks(activation)
        half = logits.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = build_loss(name, activation)(half, targets)
        assert loss.dtype == torch.float32
        assert loss == build_loss(name, activation)(half.float(), targets)

    def test_large_logits_of_either_sign_stay_finite(self, name: str, activation: Activation) -> None:
        logits, targets = masks(activation)
        logits = (logits * 1e4).requires_grad_()
        loss = build_loss(name, activation)(logits, targets)
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()


def answer(activation: Activation, labels: Tensor) -> Tensor:
    """Logits that are sure of `labels`."""
    if activation == "sigmoid":
        return (labels.float() * 40 - 20).unsqueeze(1)
    return F.one_hot(labels, 3).movedim(-1, 1) * 40.0


class TestCrossEntropy:
    def test_is_torch_s(self) -> None:
        logits, targets = masks("softmax")
        targets[1, 0] = IGNORED
        ours = build_loss("cross_entropy", "softmax")(logits, targets)
        torch.testing.assert_close(ours, F.cross_entropy(logits, targets.long(), ignore_index=IGNORED))

    def test_is_torch_s_with_class_weights(self) -> None:
        logits, targets = masks("softmax")
        weights = torch.tensor([1.0, 2.0, 0.5])
        ours = build_loss("cross_entropy", "softmax", class_weights=weights.tolist())(logits, targets)
        torch.testing.assert_close(ours, F.cross_entropy(logits, targets.long(), weights))

    def test_is_torch_s_with_label_smoothing(self) -> None:
        logits, targets = masks("softmax")
        ours = build_loss("cross_entropy", "softmax", label_smoothing=0.1)(logits, targets)
        torch.testing.assert_close(ours, F.cross_entropy(logits, targets.long(), label_smoothing=0.1))

    def test_is_torch_s_with_both(self) -> None:
        logits, targets = masks("softmax")
        weights = torch.tensor([1.0, 20.0, 0.1])
        ours = build_loss("cross_entropy", "softmax", class_weights=weights.tolist(), label_smoothing=0.1)
        expected = F.cross_entropy(logits, targets.long(), weights, label_smoothing=0.1)
        torch.testing.assert_close(ours(logits, targets), expected)

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"label_smoothing": 0.1},
            {"class_weights": [1.0, 3.0]},
            {"class_weights": [0.1, 20.0], "label_smoothing": 0.1},
        ],
    )
    def test_of_one_logit_is_that_of_two_classes(self, options: dict[str, object]) -> None:
        logits, targets = masks("sigmoid")
        two = torch.cat([torch.zeros_like(logits), logits], dim=1)
        one_logit = build_loss("cross_entropy", "sigmoid", **options)(logits, targets)
        torch.testing.assert_close(one_logit, build_loss("cross_entropy", "softmax", **options)(two, targets))

    def test_of_images_is_torch_s_and_255_is_a_class(self) -> None:
        logits, labels = torch.randn(8, 300), torch.tensor([255, 0, 299, 255, 1, 2, 3, 4])
        ours = build_loss("cross_entropy", "softmax", task="classification")(logits, labels)
        torch.testing.assert_close(ours, F.cross_entropy(logits, labels))


class TestFocal:
    @pytest.mark.parametrize("activation", KINDS)
    def test_is_the_paper_s_formula(self, activation: Activation) -> None:
        logits, targets = masks(activation)
        planes = torch.cat([torch.zeros_like(logits), logits], 1) if activation == "sigmoid" else logits
        right = planes.softmax(1).gather(1, targets.long().unsqueeze(1))
        expected = ((1 - right) ** 2 * -right.log()).mean()
        torch.testing.assert_close(build_loss("focal", activation)(logits, targets), expected)

    def test_a_pixel_half_learnt_counts_a_quarter(self) -> None:
        logits, targets = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1)
        assert build_loss("focal", "sigmoid")(logits, targets).item() == pytest.approx(0.25 * math.log(2))


class TestYesOrNo:
    """Images with any number of classes."""

    def images(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(6, 3, generator=generator)
        return logits, torch.randint(0, 2, (6, 3), generator=generator, dtype=torch.uint8)

    def test_is_torch_s(self) -> None:
        logits, target = self.images()
        ours = build_loss("cross_entropy", "sigmoid", task="classification")(logits, target)
        torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(logits, target.float()))

    def test_a_yes_counts_what_its_class_weighs_and_a_no_counts_one(self) -> None:
        logits, target = self.images()
        ours = build_loss("cross_entropy", "sigmoid", task="classification", class_weights=[1, 5, 0.5])(logits, target)
        each = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
        weights = torch.where(target == 1, torch.tensor([1, 5, 0.5]), torch.ones(3))
        torch.testing.assert_close(ours, (each * weights).mean())

    def test_smoothing_moves_the_target_towards_a_half(self) -> None:
        logits, target = self.images()
        ours = build_loss("cross_entropy", "sigmoid", task="classification", label_smoothing=0.2)(logits, target)
        torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(logits, target * 0.8 + 0.1))

    def test_focal_is_the_paper_s_formula(self) -> None:
        logits, target = self.images()
        p = torch.where(target == 1, logits.sigmoid(), 1 - logits.sigmoid())
        ours = build_loss("focal", "sigmoid", task="classification")(logits, target)
        torch.testing.assert_close(ours, ((1 - p) ** 2 * -p.log()).mean())

    @pytest.mark.parametrize("name", ["cross_entropy", "focal"])
    def test_large_logits_and_half_precision_stay_finite(self, name: str) -> None:
        logits, target = self.images()
        logits = (logits * 1e4).bfloat16().requires_grad_()
        loss = build_loss(name, "sigmoid", task="classification", class_weights=[1, 2, 3])(logits, target)
        loss.backward()
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        assert logits.grad.isfinite().all()


class TestDice:
    def test_by_hand(self) -> None:
        # Three pixels of four are 1, one of them is found with p = 0.5: 2 · 0.5 / (0.25 + 3), and 1 above and below.
        logits = torch.tensor([[[[0.0, -100.0, -100.0, -100.0]]]])
        targets = torch.tensor([[[1, 1, 1, 0]]])
        expected = 1 - (2 * 0.5 + 1) / (0.25 + 3 + 1)
        assert build_loss("dice", "sigmoid")(logits, targets).item() == pytest.approx(expected)

    def test_is_the_mean_of_the_images(self) -> None:
        logits, targets = masks("sigmoid")
        loss = build_loss("dice", "sigmoid")
        each = [loss(logits[index : index + 1], targets[index : index + 1]) for index in range(2)]
        torch.testing.assert_close(loss(logits, targets), torch.stack(each).mean())

    def test_an_image_that_is_ignored_whole_does_not_count(self) -> None:
        logits, targets = masks("softmax")
        targets[1] = IGNORED
        loss = build_loss("dice", "softmax")
        torch.testing.assert_close(loss(logits, targets), loss(logits[:1], targets[:1]))

    def test_is_the_mean_of_the_classes(self) -> None:
        logits, targets = (part[:1] for part in masks("softmax"))
        probabilities = logits.softmax(1)
        each = []
        for index in range(3):
            p, g = probabilities[:, index], (targets == index).float()
            each.append(1 - (2 * (p * g).sum() + 1) / ((p * p).sum() + g.sum() + 1))
        torch.testing.assert_close(build_loss("dice", "softmax")(logits, targets), torch.stack(each).mean())
        weighted = (each[0] + 2 * each[1]) / 3
        ours = build_loss("dice", "softmax", class_weights=[1, 2, 0])(logits, targets)
        torch.testing.assert_close(ours, weighted)

    def test_a_class_that_an_image_does_not_show_costs_nothing_by_itself(self) -> None:
        """One per cent of probability everywhere would cost as much as a class that is missed."""
        logits, targets = masks("softmax")
        targets[0][targets[0] == 2] = 0
        targets[1][targets[1] == 1] = IGNORED
        each = []
        for image, classes in enumerate([(0, 1), (0, 2)]):
            counted = (targets[image] != IGNORED).float()
            for index in classes:
                p, g = logits[image].softmax(0)[index] * counted, (targets[image] == index).float()
                each.append(1 - (2 * (p * g).sum() + 1) / ((p * p).sum() + g.sum() + 1))
        torch.testing.assert_close(build_loss("dice", "softmax")(logits, targets), torch.stack(each).mean())
        weighted = (each[0] + 2 * each[1] + each[2] + 3 * each[3]) / 7
        ours = build_loss("dice", "softmax", class_weights=[1, 2, 3])(logits, targets)
        torch.testing.assert_close(ours, weighted)

    def test_a_batch_without_foreground_still_learns(self) -> None:
        logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
        build_loss("dice", "sigmoid")(logits, torch.zeros(1, 2, 2)).backward()
        assert (logits.grad > 0).all()

    def test_an_image_without_foreground_teaches_little_but_something(self) -> None:
        """Less than the few pixels of another image: else nothing rare is ever found."""
        logits, targets = torch.full((2, 1, 64, 64), -4.0, requires_grad=True), torch.zeros(2, 64, 64)
        targets[1, :4, :4] = 1
        build_loss("dice", "sigmoid")(logits, targets).backward()
        empty, rare = logits.grad
        assert (empty > 0).all()
        assert empty.sum() < 0.1 * rare.sum().abs()
        assert (rare[0, :4, :4] < 0).all()

    @settings(deadline=None)
    @given(st.sampled_from(KINDS), st.integers(0, 1000))
    def test_is_between_nought_and_one(self, activation: Activation, seed: int) -> None:
        logits, targets = masks(activation, seed)
        assert 0 <= build_loss("dice", activation)(logits, targets) <= 1


def test_bce_dice_is_the_sum_of_the_two() -> None:
    for activation in KINDS:
        logits, targets = masks(activation)
        parts = [build_loss(name, activation)(logits, targets) for name in ("cross_entropy", "dice")]
        torch.testing.assert_close(build_loss("bce_dice", activation)(logits, targets), sum(parts))


def test_its_weights_move_with_it_and_are_not_saved() -> None:
    loss = build_loss("bce_dice", "softmax", class_weights=[1, 2, 3])
    assert loss.state_dict() == {}
    assert all(buffer.device.type == "meta" for buffer in loss.to("meta").buffers())


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("hinge", {}, "loss=hinge is not known; take one of cross_entropy, dice, bce_dice, focal"),
        (
            "dice",
            {"task": "classification"},
            "loss=dice compares areas of masks; for labels take cross_entropy or focal",
        ),
        ("bce_dice", {"task": "classification"}, "loss=bce_dice compares areas"),
        ("dice", {"label_smoothing": 0.1}, "label_smoothing goes with loss=cross_entropy and loss=bce_dice"),
        ("focal", {"label_smoothing": 0.1}, "not with loss=focal"),
        ("dice", {"activation": "sigmoid", "class_weights": [1, 2]}, "class_weights has nothing to weight"),
    ],
)
def test_what_does_not_go_together_is_refused(name: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        build_loss(name, **{"activation": "softmax"} | options)


WEIGHTS = (0.5, 2.0, 1.0)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("activation", KINDS)
@pytest.mark.parametrize(("name", "smoothing"), [("cross_entropy", 0.0), ("cross_entropy", 0.1), ("focal", 0.0)])
def test_a_mixed_target_is_both_targets_in_their_shares(
    name: str, activation: Activation, weights: tuple[float, ...] | None, smoothing: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 3, generator=generator)
    loss = build_loss(name, activation, task="classification", class_weights=weights, label_smoothing=smoothing)
    if activation == "softmax":
        one, other = (torch.randint(3, (6,), generator=generator) for _ in range(2))
        shares = [F.one_hot(labels, 3).float() for labels in (one, other)]
    else:
        one, other = (torch.randint(2, (6, 3), generator=generator, dtype=torch.uint8) for _ in range(2))
        shares = [one.float(), other.float()]
    mixed = 0.3 * shares[0] + 0.7 * shares[1]
    sums = 0.3 * loss.sums(logits, one) + 0.7 * loss.sums(logits, other)
    totals = 0.3 * loss.totals(one) + 0.7 * loss.totals(other)
    torch.testing.assert_close(loss(logits, mixed), (sums / totals).sum().float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss(logits, shares[0]), loss(logits, one), atol=1e-5, rtol=1e-5)
