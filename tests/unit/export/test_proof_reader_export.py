"""A bundle with a proof-reader: what it says is what the model says, and gates that stop one that does not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import ExportReport
from export.assemble import graph_inputs
from export.drawn import drawn_cases
from export.parity import TOLERANCE, agreement, check, is_same_choice, measure, samples_of
from export.variants import Variant, write_variant
from runtime.bundle import read_bundle
from runtime.encoder import Encoder
from runtime.engines import start_engine
from runtime.errors import BundleError, ExportError
from runtime.proofread import proofread
from training.data.source import Sample


def test_the_bundle_reads_words_and_its_parity_is_on_record(small_export: ExportReport, served: Encoder):
    manifest = small_export.manifest
    assert manifest.schema_version == 4
    assert {"proof_reader.word_error", "proof_reader.correction_scores"} <= set(manifest.parity)
    assert "proof_reader.correction_ids" not in manifest.parity, "which corrections rank first is a decision"
    assert manifest.decisions is not None
    assert manifest.decisions.best_correction is not None
    assert manifest.decisions.best_correction >= 0.99
    image = served.embed_images([Image.new("RGB", (40, 40), "red")], to_proofread=True)
    unfitted = manifest.calibration.model_copy(update={"word_error_fit": None})  # which may name masked words
    reader = Encoder(
        manifest.model_copy(update={"calibration": unfitted}), served.text_transform, served.engines, lexicon=()
    )
    proof = proofread(reader, image, "A red circle, left of a blue star", threshold=0.0)
    assert proof.method == "word_errors"
    judged = [word for word in proof.words if word.error_probability]
    assert all(word.suggestions for word in judged)
    assert all(word.word.lower() not in [one.word for one in word.suggestions] for word in judged)


def test_the_calibration_says_how_it_came_about(small_export: ExportReport):
    calibration = small_export.manifest.calibration
    fit = calibration.word_error_fit
    if fit is None:  # two steps of training need not tell anything apart
        assert calibration.word_error_threshold == 0.5
    else:
        assert fit.method in fit.tried
        assert set(fit.tried) <= {"word_errors", "masked_words"}
        assert fit.false_alarms <= 0.02


def test_levels_are_computed_for_who_asks(served: Encoder):
    image = Image.new("RGB", (32, 32), "red")
    assert served.embed_images([image]).levels is None
    levels = served.embed_images([image], to_proofread=True).levels
    assert levels is not None
    assert levels.shape[1:] == served.manifest.graphs["proof_reader"].inputs[2].shape[1:]


def test_another_proof_reader_fails_the_gate(served: Encoder, by_torch: Encoder):
    """One head's sign turned: numbers are far apart, and so are decisions."""
    inner = served.engines["proof_reader"]

    class Turned:
        provider = "cpu"

        def run(self, inputs, outputs=None):
            found = inner.run(inputs, outputs)
            return {**found, "word_error": -found["word_error"], "correction_ids": found["correction_ids"][..., ::-1]}

    wrong = Encoder(
        served.manifest, served.text_transform, {**served.engines, "proof_reader": Turned()}, lexicon=served.lexicon
    )
    cases = drawn_cases(12, size_px=32)
    report = measure(served.manifest.graphs, by_torch.engines, wrong.engines, samples_of(served, cases))
    with pytest.raises(ExportError, match=r"proof_reader\.word_error") as refused:
        check(report, TOLERANCE["fp32"])
    assert refused.value.code == "parity_failed"
    same, other = agreement(by_torch, served, cases), agreement(by_torch, wrong, cases)
    assert (same.flagged_word, same.best_correction) == (1, 1)
    assert other.best_correction is not None
    assert other.best_correction < 0.5
    with pytest.raises(ExportError, match="best correction"):
        check(dataclasses.replace(report, outputs={}, decisions=other.model_copy(update={"flagged_word": 1.0})),
              TOLERANCE["fp32"])  # fmt: skip


@pytest.mark.parametrize("variant", ["fp16", "int8_dynamic", "int8_static"])
def test_the_proof_reader_runs_at_every_precision(
    tmp_path: Path, small_export: ExportReport, served: Encoder, variant: Variant
):
    cases = drawn_cases(12, size_px=32)
    samples = [Sample(image=case.image, caption=case.caption, edited=case.edited) for case in cases]
    out = tmp_path / f"{variant}.onnx"
    inputs = graph_inputs(served, samples)["proof_reader"]
    write_variant(variant, small_export.bundle / "proof_reader.onnx", out, samples=inputs)
    found, expected = start_engine(out).run(inputs[0]), served.engines["proof_reader"].run(inputs[0])
    real = inputs[0]["mask"].astype(bool)
    far = np.abs(found["word_error"] - expected["word_error"])[real].max()
    assert far < (5e-3 if variant == "fp16" else 0.3)
    assert found["correction_ids"].dtype == np.int64


def test_what_is_unlike_is_no_same_correction():
    assert is_same_choice({"red": 0.5, "blue": 0.4}, {"red": 0.9})
    assert not is_same_choice({"red": 0.5, "blue": 0.4}, {"pink": 0.9})


def test_an_older_program_refuses_the_bundle_and_a_newer_one_is_refused(tmp_path: Path, small_export: ExportReport):
    """Programs of every schema compare versions before they read the rest, as this one does."""
    raw = json.loads((small_export.bundle / "manifest.json").read_text())
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "manifest.json").write_text(json.dumps({**raw, "schema_version": 5, "graphs": {"telepathy": {}}}))
    with pytest.raises(BundleError, match=r"schema version 5; this program reads up to 4\. Upgrade vernier") as refused:
        read_bundle(newer)
    assert refused.value.code == "bundle_too_new"
