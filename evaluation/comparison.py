"""Two recipes on the same items: how far apart are they, and how sure is that?

Each recipe is trained with several seeds, and every model answers the same items. The interval of a difference is that
of a paired bootstrap over both: in each draw pictures are drawn with replacement, each with all its items, and seeds
are drawn with replacement, each with both its models; all models are read on the same draw of pictures. With few seeds
(three, usually) the draws over seeds are coarse, so an interval that only just leaves zero out means little.

Rates are sums over pictures divided by sums over pictures, so a draw of them costs one product; word AUROC and AP are
read from words that were sorted once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import COVERAGE, RESAMPLES, Weights
from evaluation.items import Item
from evaluation.ranking import BinaryRanking
from runtime.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One model's answers, ready to be read for any draw of pictures.

    Attributes:
        rates: names of the rates, `group.rate`, and `group.accuracy[type]` where the group has types.
        hits: hits of each rate by picture, `[rates, pictures]`.
        counted: items that each rate counts by picture, `[rates, pictures]`.
        words: rankings of words, with the picture of each word; by the name of the AUROC that is read from them.
    """

    rates: Sequence[str]
    hits: NDArray[np.float64]
    counted: NDArray[np.float64]
    words: Mapping[str, tuple[BinaryRanking, NDArray[np.int64]]]

    @classmethod
    def of(cls, items: Sequence[Item], pictures: Mapping[str, int]) -> "Sample":
        """Tabulate items.

        Args:
            items: of one model.
            pictures: the number of each picture; the same for all samples that are compared.
        """
        rows: dict[str, int] = {}
        cells: list[tuple[int, int, bool]] = []
        for item in items:
            for rate, hit in item.hits.items():
                if hit is None:
                    continue
                for name in _names(item, rate):
                    cells.append((rows.setdefault(name, len(rows)), pictures[item.picture], hit))
        hits, counted = np.zeros((2, len(rows), len(pictures)))
        for row, picture, hit in cells:
            hits[row, picture] += hit
            counted[row, picture] += 1
        return cls(rates=list(rows), hits=hits, counted=counted, words=_words(items, pictures))

    def numbers(self, weights: Weights) -> dict[str, float]:
        """Every number, with each picture counted as often as its weight says; `nan` where nothing counts."""
        total = self.counted @ weights
        rate = np.divide(self.hits @ weights, total, out=np.full(len(total), np.nan), where=total > 0)
        found = dict(zip(self.rates, rate.tolist(), strict=True))
        for name, (ranking, picture) in self.words.items():
            found[f"proofreading.{name}"] = ranking.auroc(weights[picture])
            if name in ("auroc", "blind_auroc"):
                precision = ranking.average_precision(weights[picture])
                found[f"proofreading.{name.removesuffix('auroc')}ap"] = precision
        if "blind_auroc" in self.words:
            found["proofreading.auroc_above_blind"] = found["proofreading.auroc"] - found["proofreading.blind_auroc"]
        return found


_BY_TYPE = {f"{control}{rate}" for control in ("", "blind_") for rate in ("accuracy", "word_top1", "correction_top1")}


def _names(item: Item, rate: str) -> list[str]:
    name = f"{item.group}.{rate}"
    return [name, f"{name}[{item.type}]"] if rate in _BY_TYPE and item.type is not None else [name]


def _words(items: Sequence[Item], pictures: Mapping[str, int]) -> dict[str, tuple[BinaryRanking, NDArray[np.int64]]]:
    rows: dict[str, list[tuple[float, bool, int]]] = {}
    for item in items:
        for word in item.words:
            names = ["auroc"]
            if word.can_be_wrong:
                names += ["judged_auroc", *([] if item.type is None else [f"judged_auroc[{item.type}]"])]
            for prefix, score in (("", word.error), ("blind_", word.blind_error)):
                if score is not None:
                    for name in names:
                        rows.setdefault(prefix + name, []).append((score, word.is_wrong, pictures[item.picture]))
    found = {}
    for name, row in rows.items():
        scores, wrong, picture = (np.array(column) for column in zip(*row, strict=True))
        found[name] = (BinaryRanking.of(scores, wrong), picture.astype(np.int64))
    return found


def samples_of(models: Sequence[Sequence[Item]]) -> list[Sample]:
    """Tabulate the items of several models on the same data.

    Raises:
        DataError: the models did not answer the same items in the same order.
    """
    keys = [item.key for item in models[0]]
    for other in models[1:]:
        if [item.key for item in other] != keys:
            raise DataError("the models did not answer the same items; evaluate them on the same files.")
    names = dict.fromkeys(item.picture for item in models[0])
    pictures = {name: number for number, name in enumerate(names)}
    return [Sample.of(items, pictures) for items in models]


def compare(
    recipe: Sequence[Sample], baseline: Sequence[Sample], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compare two recipes, the n-th model of one beside the n-th of the other.

    Args:
        recipe: a sample for each seed.
        baseline: the same of the other recipe, for the same seeds.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Returns:
        For each number: `recipe` and `baseline` (means over the seeds), `recipe_sd` and `baseline_sd` (standard
        deviations over the seeds, None with one seed), `difference`, its `interval`, and `seeds_ahead`, the seeds in
        which the recipe's number is the higher. Numbers that are defined nowhere are left out.
    """
    num_pictures = recipe[0].hits.shape[1]
    everything = np.ones(num_pictures)
    ours, theirs = ([sample.numbers(everything) for sample in samples] for samples in (recipe, baseline))
    names = [name for name in theirs[0] if all(np.isfinite([of.get(name, np.nan) for of in (*ours, *theirs)]))]
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, len(names)))
    for draw in draws:
        weights = np.bincount(rng.integers(0, num_pictures, num_pictures), minlength=num_pictures).astype(np.float64)
        drawn = rng.integers(0, len(recipe), len(recipe))
        of_seed = {number: _gap(recipe[number], baseline[number], weights, names) for number in set(drawn.tolist())}
        draw[:] = np.mean([of_seed[number] for number in drawn.tolist()], axis=0)
    tail = (1 - COVERAGE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0)
    return {
        name: {
            **_arm("recipe", [of[name] for of in ours]),
            **_arm("baseline", [of[name] for of in theirs]),
            "difference": float(np.mean([a[name] - b[name] for a, b in zip(ours, theirs, strict=True)])),
            "interval": [float(low[at]), float(high[at])],
            "seeds_ahead": sum(a[name] > b[name] for a, b in zip(ours, theirs, strict=True)),
        }
        for at, name in enumerate(names)
    }


def _gap(recipe: Sample, baseline: Sample, weights: Weights, names: Sequence[str]) -> NDArray[np.float64]:
    ours, theirs = recipe.numbers(weights), baseline.numbers(weights)
    return np.array([ours[name] - theirs[name] for name in names])


def _arm(name: str, values: Sequence[float]) -> dict[str, float | None]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {name: float(np.mean(values)), f"{name}_sd": spread}
