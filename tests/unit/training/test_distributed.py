"""Two processes with the batch of one have the losses of one: weights copied (DDP) and divided (FSDP2)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from runtime.errors import UsageError
from tests.unit.training.plain_pairs import plain_config
from tests.unit.training.several_processes import WITH_DICTIONARY, WITH_QUEUE, losses_of, trainer_of, variants
from training.checkpoint import MODEL, TRAINING_STATE, read_tensors
from training.distributed import gather_keys, gather_with_gradient, mean_over_processes, rank, world_size

VARIANTS = list(variants(plain_config()))
PROCESSES = 2


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that needs two processes, done by the same two."""
    out = tmp_path_factory.mktemp("two")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    done = subprocess.run(
        [*launcher, "-m", "tests.unit.training.several_processes", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def losses_in(out: Path, kind: str) -> dict[str, list[float]]:
    return json.loads((out / "losses.json").read_text())[kind]  # type: ignore[no-any-return]


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_have_the_losses_of_one(out: Path, tmp_path: Path, variant: str):
    alone = losses_of(trainer_of(plain_config(), tmp_path))
    assert alone[0] - alone[-1] > 1e-3  # the weights moved, so equal losses mean equal gradients
    assert losses_in(out, "plain")[variant] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_momentum_targets_and_queue_are_of_all_processes(out: Path, tmp_path: Path, variant: str):
    alone = losses_of(trainer_of(WITH_QUEUE, tmp_path))
    assert losses_in(out, "queue")[variant] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_checkpoint_is_that_of_one_process(out: Path, tmp_path: Path, variant: str):
    """Whole weights and moments under the same names; the moments are the gradients' averages."""
    alone = trainer_of(plain_config(), tmp_path)
    directory = alone.run()
    for name in (MODEL, TRAINING_STATE):
        saved, expected = (read_tensors(of, name) for of in (out / variant / "checkpoints/step-0000004", directory))
        assert {key: value.shape for key, value in saved.items() if not key.startswith("random/")} == {
            key: value.shape for key, value in expected.items() if not key.startswith("random/")
        }
        for key in expected:
            if key.endswith("/exp_avg"):
                torch.testing.assert_close(saved[key], expected[key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_visual_dictionary_is_that_of_all_processes(out: Path, tmp_path: Path, variant: str):
    """It begins in the second step, follows in the third, and a code that died begins anew in the fourth."""
    directory = trainer_of(WITH_DICTIONARY, tmp_path).run()
    saved, expected = (
        read_tensors(of, MODEL) for of in (out / f"dictionary {variant}/checkpoints/step-0000004", directory)
    )
    names = [name for name in expected if name.startswith("visual_dictionary.")]
    assert len(names) == 5
    for name in names:
        torch.testing.assert_close(saved[name], expected[name], atol=1e-4, rtol=1e-4)
    counts = expected["visual_dictionary.counts"]
    assert counts.sum().item() > 1.0
    assert len(torch.unique(expected["visual_dictionary.vectors"], dim=0)) == 12


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_of_two_is_exact(out: Path, variant: str):
    """With every objective, whose random draws differ between the processes, an average and validation."""
    assert losses_in(out, "resumed")[variant] == losses_in(out, "whole")[variant]


def test_one_process_goes_on_where_two_stopped(out: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    alone = trainer_of(plain_config(), tmp_path)
    whole = losses_of(alone)
    taken_over = trainer_of(plain_config(), tmp_path / "over")
    taken_over.restore(out / "cut plain" / "checkpoints" / "step-0000002")
    assert "had 2 processes and now has 1" in caplog.text
    assert losses_of(taken_over) == pytest.approx(whole[2:], abs=1e-5)


def test_alone_everything_is_the_identity():
    tensor = torch.tensor([[1.0, 2.0]], requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert gather_with_gradient(tensor) is tensor
    assert torch.equal(gather_keys(tensor), tensor)
    assert not gather_keys(tensor).requires_grad
    assert torch.equal(mean_over_processes(tensor), tensor)


def test_a_batch_that_cannot_be_divided_is_refused():
    config = plain_config(batch_size=8, encode_in_parts=2)
    assert config.pairs_per_process(2) == 4
    with pytest.raises(UsageError, match="multiple of 6"):
        config.pairs_per_process(3)
    with pytest.raises(UsageError, match="multiple of 16"):
        config.pairs_per_process(8)
