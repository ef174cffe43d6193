"""Writes a folder as clip-retrieval does, from drawn scenes: python -m tests.e2e.clip_index SCENES OUT BUNDLE."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.encoder import Encoder
from runtime.preprocess.image import decode_image


def main(scenes: Path, out: Path, bundle: Path) -> None:
    """Embed every scene with its first caption."""
    encoder = Encoder.load(bundle)
    rows = [json.loads(line) for line in (scenes / "captions.jsonl").read_text().splitlines()]
    files = [(scenes / "images" / row["image"]).resolve() for row in rows]
    captions = [row["captions"][0] for row in rows]
    vectors = {
        "img_emb": encoder.embed_images([decode_image(file.read_bytes()) for file in files]).embedding,
        "text_emb": encoder.embed_texts(captions).embedding,
    }
    for name, found in vectors.items():
        (out / name).mkdir(parents=True)
        np.save(out / name / f"{name}_0.npy", found.astype(np.float16))
    (out / "metadata").mkdir()
    table = pa.table({"image_path": [str(file) for file in files], "caption": captions})
    pq.write_table(table, out / "metadata" / "metadata_0.parquet")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
