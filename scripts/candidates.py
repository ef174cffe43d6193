"""Write down which words are plausible at every place of a data set's captions, for recipes with wrong words.

A large masked language model then runs once per caption and not once per epoch. The table is named in the recipe's
`WrongWordsConfig.table`; `training.recipes.vilem:base` takes `DIR/candidates.npz` by itself.

    .venv/bin/python scripts/candidates.py training.recipes.vilem:base --data DIR [--out FILE]
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runtime.errors import UsageError, VernierError  # noqa: E402
from training.data.batch import PairBatch  # noqa: E402
from training.data.candidates import Place, write_table  # noqa: E402
from training.data.listed_pairs import ListedPairs, ListedPairsConfig  # noqa: E402
from training.data.wrong_words import vocabulary_digest  # noqa: E402
from training.train import data_of, load_recipe  # noqa: E402

_PAIRS_AT_ONCE = 256


def main() -> None:
    """Read the call and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="whose data has wrong words, as training.recipes.vilem:base")
    parser.add_argument("--data", type=Path, required=True, help="the directory that --data of vernier train names")
    parser.add_argument("--out", type=Path, help="the table; DIR/candidates.npz when left out")
    given = parser.parse_args()
    out = given.out or given.data / "candidates.npz"
    try:
        count = write(given.recipe, given.data, out)
    except VernierError as error:
        sys.exit(f"candidates: {error}")
    print(f"{count} places in {out}")


def write(recipe: str, data: Path, out: Path) -> int:
    """Write the table of a recipe's training captions; how many places it has.

    Raises:
        UsageError: the recipe has no wrong words, or its data has no end.
        DataError: the data or the language model cannot be read.
    """
    config = load_recipe(recipe, data)
    described = data_of(config, str(data))
    words = getattr(described, "wrong_words", None)
    if not isinstance(described, ListedPairsConfig) or words is None:
        raise UsageError(f"{recipe} reads no captions with wrong words from {data}; drawn scenes need no table.")
    words = dataclasses.replace(words, table=None)
    source = described.open(data, tokenizer=described.tokenizer(data), batch_size=1, seed=0)
    digest = vocabulary_digest(source.text_transform.tokenizer)
    return write_table(out, _places(source), source.proposer(words), digest)


def _places(source: ListedPairs) -> Iterator[tuple[PairBatch, list[Place]]]:
    """Every training caption once, and where its words may be replaced."""
    for start in range(0, len(source.train), _PAIRS_AT_ONCE):
        batch, captions = source.texts_of(source.train[start : start + _PAIRS_AT_ONCE].tolist())
        truths = source.truths(batch, captions)
        yield batch, [(row, position) for row, truth in enumerate(truths) for position in truth.positions]
        print(f"{min(start + _PAIRS_AT_ONCE, len(source.train))} of {len(source.train)} pictures", flush=True)


if __name__ == "__main__":
    main()
