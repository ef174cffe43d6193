"""The region head: boxes, soft membership, pooled embeddings and the choice of the best, against plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from training.model.region_head import (
    OVERLAPPED,
    RegionHead,
    RegionHeadConfig,
    is_overlapped,
    overlaps,
    pooled,
)

GRID = (3, 4)
PATCHES = GRID[0] * GRID[1]


def head_of(**changes: object) -> RegionHead:
    torch.manual_seed(0)
    return RegionHeadConfig(regions=4, hidden=8, **changes).build(16, GRID)  # type: ignore[arg-type]


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def boxes_of(numbers: list[float]) -> Tensor:
    corners = torch.tensor(numbers, dtype=torch.float32).reshape(1, -1, 4)
    low, sides = corners[..., :2], 0.1 + corners[..., 2:]
    return torch.cat([low, low + sides], dim=-1)


def test_a_box_begins_two_patches_wide_around_its_patch():
    found = head_of()(torch.zeros(1, PATCHES, 16), torch.randn(1, PATCHES, 8))
    x0, y0, x1, y1 = found.boxes[0, 5].tolist()  # row 1, column 1
    assert math.isclose(x1 - x0, 2 / 4, abs_tol=1e-5)
    assert math.isclose(y1 - y0, 2 / 3, abs_tol=1e-5)
    assert math.isclose((x0 + x1) / 2, 1.5 / 4, abs_tol=1e-5)
    assert math.isclose((y0 + y1) / 2, 1.5 / 3, abs_tol=1e-5)


def test_membership_is_a_sigmoid_over_the_depth_in_the_box():
    head = head_of(softness=0.5)
    middles, sides = torch.tensor([[[0.375, 0.5]]]), torch.tensor([[[0.5, 0.4]]])
    found = head.membership(middles, sides)[0, 0].reshape(GRID)
    for row in range(3):
        for column in range(4):
            x, y = (column + 0.5) / 4, (row + 0.5) / 3
            across = 1 / (1 + math.exp(-(0.25 - abs(x - 0.375)) / (0.5 / 4)))
            down = 1 / (1 + math.exp(-(0.2 - abs(y - 0.5)) / (0.5 / 3)))
            assert math.isclose(found[row, column].item(), across * down, rel_tol=1e-4)


def test_a_sharp_border_pools_exactly_the_patches_inside():
    head = head_of(softness=1e-3)
    patches = F.normalize(torch.randn(1, PATCHES, 8), dim=-1)
    membership = head.membership(torch.tensor([[[0.25, 0.5]]]), torch.tensor([[[0.5, 2.0]]]))  # the left half
    inside = patches[0].reshape(*GRID, 8)[:, :2].flatten(0, 1).mean(dim=0)
    torch.testing.assert_close(pooled(membership, patches)[0, 0], F.normalize(inside, dim=-1), rtol=1e-5, atol=1e-5)


def test_what_is_done_with_embeddings_trains_the_sides():
    """With hard crops nothing would: papers' link from losses to boxes is the soft membership."""
    head = head_of()
    patches = F.normalize(torch.randn(1, PATCHES, 8), dim=-1)
    found = head(torch.randn(1, PATCHES, 16), patches)
    found.embeddings[..., 0].sum().backward()
    gradient = head.predict.weight.grad
    assert gradient is not None
    assert (gradient[:4].abs().sum(dim=1) > 0).all(), "width, height and both offsets are trained"
    assert gradient[4].abs().sum() == 0, "the confidence is not: that is the game's task"


def test_fixed_boxes_do_not_move():
    head = head_of(fixed_side=1.5)
    torch.nn.init.normal_(head.predict.weight, std=5.0)
    found = head(torch.randn(2, PATCHES, 16), torch.randn(2, PATCHES, 8))
    sides = found.boxes[..., 2:] - found.boxes[..., :2]
    torch.testing.assert_close(sides, torch.tensor([1.5 / 4, 1.5 / 3]).expand_as(sides))


@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=24).filter(lambda numbers: len(numbers) % 4 == 0),
    st.data(),
)
def test_a_box_is_passed_over_exactly_for_a_better_one(numbers: list[float], data: st.DataObject):
    boxes = boxes_of(numbers)
    count = boxes.shape[1]
    drawn = data.draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=count, max_size=count))
    listed = boxes[0].tolist()
    found = is_overlapped(boxes, torch.tensor([drawn]), most=0.4)[0].tolist()
    for at in range(count):
        others = [other for other in range(count) if (drawn[other], -other) > (drawn[at], -at)]
        margins = [iou(listed[at], listed[other]) - 0.4 for other in others]
        if all(abs(margin) > 1e-5 for margin in margins):
            assert found[at] == any(margin > 0 for margin in margins)


def test_overlaps_are_intersection_over_union():
    boxes = boxes_of([0.1, 0.1, 0.3, 0.3, 0.2, 0.15, 0.5, 0.2, 0.9, 0.9, 0.0, 0.0])
    found = overlaps(boxes, boxes)[0]
    expected = [[iou(a, b) for b in boxes[0].tolist()] for a in boxes[0].tolist()]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_the_best_come_first_and_the_overlapped_last():
    head = head_of()
    regions = head(torch.randn(2, PATCHES, 16), torch.randn(2, PATCHES, 8))
    best = head.best(regions)
    assert best.boxes.shape == (2, 4, 4)
    assert best.embeddings.shape == (2, 4, 8)
    for image in range(2):
        is_late = is_overlapped(regions.boxes.clamp(0, 1), regions.scores, most=head.config.most_overlap)[image]
        ranked = (regions.scores[image] - OVERLAPPED * is_late.float()).argsort(descending=True)[:4]
        torch.testing.assert_close(best.boxes[image], regions.boxes[image][ranked])
        torch.testing.assert_close(head.is_apart(best)[image], ~is_late[ranked])


def test_more_regions_than_patches_are_refused():
    with pytest.raises(ValueError, match="has no 13 regions"):
        RegionHeadConfig(regions=13).build(16, GRID)
