import json

import numpy as np
import pytest
import torch
from PIL import Image

from export import build
from runtime.encoder import Encoder
from runtime.grounding import ground
from tests.unit.training.photo_set import write_backbone, write_photos, write_tower
from training.checkpoint import load_trained
from training.train import run


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle of a few steps of training with a frozen backbone and a frozen text tower."""
    folder = tmp_path_factory.mktemp("photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = folder / "data"
        write_photos(data, count=60)
        write_backbone(data / "backbone.onnx", is_channels_last=True)
        lines = (data / "captions.jsonl").read_text().splitlines()
        write_tower(data / "tower", [caption for line in lines for caption in json.loads(line)["captions"]])
        (data / "photos.toml").write_text('text_tower = "tower"\n')
        checkpoint = run("training.recipes.photos:lit", data=data, workdir=folder / "work", max_steps=3)
        build(checkpoint, folder / "bundle", data=data)
        yield data, checkpoint, folder / "bundle"


def test_bundle_goes_from_pictures_to_embeddings_without_the_data(exported):
    data, checkpoint, bundle = exported
    encoder = Encoder.load(bundle)
    with Image.open(data / "images" / "1.png") as file:
        picture = file.convert("RGB")
    features = encoder.embed_images([picture, picture])
    assert features.embedding.shape == (2, encoder.dim)
    assert features.patch_embeddings.shape == (2, 16, encoder.dim)
    assert ground(encoder, features[[0]], ["a green ball"])[0].heat.shape == (4, 4)
    model = load_trained(checkpoint).model
    expected = model.encode_images(torch.from_numpy(encoder.image_input(picture)[None]))
    np.testing.assert_allclose(features.embedding[:1], expected.embedding.detach().numpy(), atol=1e-4)


def test_bundle_names_no_place_on_this_machine(exported):
    data, _, bundle = exported
    for file in bundle.iterdir():
        assert str(data.parent).encode() not in file.read_bytes(), file.name


def test_bundle_carries_a_lexicon(exported):
    lexicon = Encoder.load(exported[2]).lexicon
    assert {"ball", "box", "red"} <= set(lexicon)
