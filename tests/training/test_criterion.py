"""The set criterion: better predictions lose less, and nothing to find is no trouble."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from effbench.data.transforms import Target
from effbench.errors import InputError
from effbench.models.mask2former_decoder import Prediction
from effbench.training.criterion import CriterionSettings, SetCriterion, sample_points

CLASSES, QUERIES, SIZE = 5, 4, 32

# What a perfect prediction at stride 4 still loses: sampled points lie mostly on the edges, where it is unsure.
REST = {"points": 2.0, "dense": 0.1}

both_samplings = pytest.mark.parametrize("sampling", ["points", "dense"])


def criterion(sampling: str, **settings: float) -> SetCriterion:
    return SetCriterion(CLASSES, CriterionSettings(sampling=sampling, points=256, **settings))


@pytest.fixture
def target() -> Target:
    """Class 2 on the left half, class 0 on the lower right quarter; the rest is void."""
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks[0, :, : SIZE // 2] = True
    masks[1, SIZE // 2 :, SIZE // 2 :] = True
    return Target(torch.tensor([2, 0]), masks)


NOTHING = Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, SIZE, SIZE, dtype=torch.bool))


def answer(target: Target, first: int = 1, confidence: float = 12.0) -> Prediction:
    """A prediction (1, Q, ...) that is right: the target's segments at queries `first`, ..., nothing elsewhere."""
    logits = torch.zeros(1, QUERIES, CLASSES + 1)
    logits[..., -1] = confidence
    masks = torch.full((1, QUERIES, SIZE // 4, SIZE // 4), -confidence)
    for query, (label, mask) in enumerate(zip(target.labels.tolist(), target.masks, strict=True), start=first):
        logits[0, query] = 0
        logits[0, query, label] = confidence
        masks[0, query][mask[::4, ::4]] = confidence
    return Prediction(logits.requires_grad_(), masks.requires_grad_())


def total(losses: dict[str, Tensor]) -> float:
    return sum(loss.item() for loss in losses.values())


def wrong_class(right: Prediction) -> Prediction:
    return Prediction(right.logits.roll(1, dims=-1), right.masks)


def wrong_masks(right: Prediction) -> Prediction:
    return Prediction(right.logits, -right.masks)


def nothing_found(right: Prediction) -> Prediction:
    return Prediction(right.logits.detach().flip(1) * 0 + torch.eye(CLASSES + 1)[-1] * 12, right.masks)


@both_samplings
def test_a_perfect_prediction_loses_next_to_nothing(sampling: str, target: Target) -> None:
    assert total(criterion(sampling)([answer(target)], [target])) < REST[sampling]


@both_samplings
@pytest.mark.parametrize("damage", [wrong_class, wrong_masks, nothing_found])
def test_a_wrong_one_loses_more(sampling: str, damage: object, target: Target) -> None:
    right = answer(target)
    assert total(criterion(sampling)([damage(right)], [target])) > 1 + total(criterion(sampling)([right], [target]))


@both_samplings
def test_it_does_not_matter_which_query_answers(sampling: str, target: Target) -> None:
    losses = []
    for place in (0, 2):
        torch.manual_seed(0)
        losses.append(total(criterion(sampling)([answer(target, place)], [target])))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@both_samplings
def test_a_step_along_the_gradient_loses_less(sampling: str, target: Target) -> None:
    logits = torch.randn(1, QUERIES, CLASSES + 1, requires_grad=True)
    masks = torch.randn(1, QUERIES, SIZE // 4, SIZE // 4, requires_grad=True)
    losses = []
    for _ in range(20):
        torch.manual_seed(0)
        loss = torch.stack(list(criterion(sampling)([Prediction(logits, masks)], [target]).values())).sum()
        gradients = torch.autograd.grad(loss, (logits, masks))
        with torch.no_grad():
            logits -= 0.5 * gradients[0]
            masks -= 5 * gradients[1]
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@both_samplings
def test_every_prediction_has_its_losses_by_name(sampling: str, target: Target) -> None:
    right = answer(target)
    losses = criterion(sampling)([wrong_class(right), wrong_masks(right), right], [target])
    assert set(losses) == {f"{name}{suffix}" for name in ("class", "mask", "dice") for suffix in ("", "_0", "_1")}
    assert losses["class_0"] > losses["class"], "the last prediction has the plain names"
    assert losses["mask_1"] > losses["mask"]


@both_samplings
def test_the_weights_scale_the_losses(sampling: str, target: Target) -> None:
    prediction = wrong_class(answer(target))

    def losses(**weights: float) -> dict[str, Tensor]:
        torch.manual_seed(0)
        return criterion(sampling, **weights)([prediction], [target])

    plain, heavy = losses(), losses(class_weight=4.0, mask_weight=10.0, dice_weight=10.0)
    for name in plain:
        assert heavy[name].item() == pytest.approx(2 * plain[name].item(), rel=1e-4), name


def test_no_object_counts_a_tenth(target: Target) -> None:
    """One of four queries is wrong: about a found segment it weighs ten times as much as about nothing."""
    right = answer(target)
    missed, invented = right.logits.detach().clone(), right.logits.detach().clone()
    missed[0, 1] = torch.eye(CLASSES + 1)[-1] * 12
    invented[0, 0] = torch.eye(CLASSES + 1)[0] * 12
    loss = {
        name: criterion("dense")([Prediction(logits, right.masks)], [target])["class"].item()
        for name, logits in (("missed", missed), ("invented", invented))
    }
    assert loss["missed"] == pytest.approx(10 * loss["invented"], rel=0.01)


@both_samplings
def test_an_image_without_segments_teaches_that_nothing_is_there(sampling: str) -> None:
    nothing, something = answer(NOTHING), wrong_class(answer(NOTHING))
    right, wrong = (criterion(sampling)([p], [NOTHING]) for p in (nothing, something))
    assert total(right) < 0.01
    assert wrong["class"] > 1
    assert right["mask"] == right["dice"] == 0


@both_samplings
def test_losses_of_a_batch_without_segments_are_finite_and_differentiable(sampling: str) -> None:
    logits = torch.randn(2, QUERIES, CLASSES + 1, requires_grad=True)
    masks = torch.randn(2, QUERIES, SIZE // 4, SIZE // 4, requires_grad=True)
    losses = criterion(sampling)([Prediction(logits, masks)] * 2, [NOTHING, NOTHING])
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert logits.grad is not None and masks.grad is not None
    assert logits.grad.abs().sum() > 0
    assert (masks.grad == 0).all()


@both_samplings
def test_an_image_without_segments_beside_one_with_them(sampling: str, target: Target) -> None:
    right, nothing = answer(target), answer(NOTHING)
    both = Prediction(torch.cat((nothing.logits, right.logits)), torch.cat((nothing.masks, right.masks)))
    assert total(criterion(sampling)([both], [NOTHING, target])) < REST[sampling]
    assert total(criterion(sampling)([both], [target, NOTHING])) > 5


@both_samplings
def test_more_segments_than_queries_is_no_error(sampling: str) -> None:
    masks = torch.zeros(QUERIES + 2, SIZE, SIZE, dtype=torch.bool)
    for row in range(len(masks)):
        masks[row, 4 * row : 4 * row + 4] = True
    crowded = Target(torch.arange(QUERIES + 2) % CLASSES, masks)
    prediction = Prediction(torch.randn(1, QUERIES, CLASSES + 1), torch.randn(1, QUERIES, SIZE // 4, SIZE // 4))
    assert total(criterion(sampling)([prediction], [crowded])) > 0


def test_an_unknown_sampling_is_refused() -> None:
    with pytest.raises(InputError, match=r"sampling='sparse', expected 'points' or 'dense'"):
        criterion("sparse")


def test_points_are_read_between_pixel_centres() -> None:
    """The centre of pixel (0, 0) of a 2 x 2 map is (0.25, 0.25); x comes first."""
    maps = torch.tensor([[[0.0, 1.0], [10.0, 11.0]]])
    points = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]])
    assert torch.allclose(sample_points(maps, points), torch.tensor([[0.0, 1.0, 10.0, 5.5]]))
