"""Grounding: where in a picture a phrase is. One method a file; `finding` takes the best that a bundle allows."""

from runtime.grounding.boxes import MOST_OVERLAP, boxes_of, non_overlapping, overlaps
from runtime.grounding.finding import (
    best_boxes,
    ground,
    ground_many,
    ground_regions,
    is_calibrated,
    method_of,
    methods_of,
    threshold_of,
)
from runtime.grounding.found import Box, Grounding, Method, ScoredBox
from runtime.grounding.shapley import DEFAULT_BUDGET, LEAST_BUDGET

__all__ = [
    "DEFAULT_BUDGET",
    "LEAST_BUDGET",
    "MOST_OVERLAP",
    "Box",
    "Grounding",
    "Method",
    "ScoredBox",
    "best_boxes",
    "boxes_of",
    "ground",
    "ground_many",
    "ground_regions",
    "is_calibrated",
    "method_of",
    "methods_of",
    "non_overlapping",
    "overlaps",
    "threshold_of",
]
