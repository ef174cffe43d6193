import numpy as np
import onnx
import onnxruntime as ort
import pytest

from runtime.errors import DataError
from tests.unit.training.photo_set import FINE_CHANNELS, SIDE_PX, write_backbone
from training.model.backbone import Backbone, describe_backbone, grid_graph


@pytest.mark.parametrize("is_channels_last", [False, True])
def test_grid_is_what_goes_into_the_pooling(tmp_path, is_channels_last):
    file = tmp_path / "backbone.onnx"
    write_backbone(file, is_channels_last=is_channels_last)
    config = describe_backbone(file)
    assert (config.outputs, config.factors) == (("features", "fine_features"), (1, 2))
    assert (config.channels, config.rows, config.columns) == (12 + FINE_CHANNELS + 24, 4, 4)
    assert (config.size_px, config.is_channels_last) == (SIDE_PX, is_channels_last)
    pixels = np.random.default_rng(0).normal(size=(3, 3, SIDE_PX, SIDE_PX)).astype(np.float32)

    model = onnx.load(file)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in config.outputs)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = pixels.transpose(0, 2, 3, 1) if is_channels_last else pixels
    coarse, fine = session.run(list(config.outputs), {"picture": given})

    grids = Backbone(config).grids(pixels)
    assert grids.shape == (3, 16, config.channels)
    averaged = fine.reshape(3, FINE_CHANNELS, 4, 2, 4, 2).mean(axis=(3, 5))
    quarters = pixels.reshape(
        3, 3, 4, 2, 4, 4, 2, 4
    )  # pictures, colours, rows, halves, pixels, columns, halves, pixels
    colours = [
        value.transpose(0, 3, 5, 1, 2, 4).reshape(3, 12, 4, 4)
        for value in (quarters.mean((4, 7)), quarters.std((4, 7)))
    ]
    expected = np.concatenate([coarse, averaged, *colours], axis=1)
    np.testing.assert_allclose(grids, expected.reshape(3, -1, 16).transpose(0, 2, 1), rtol=1e-4, atol=1e-5)


def test_two_views_are_the_picture_and_its_mirror_image_turned_back(tmp_path):
    write_backbone(tmp_path / "backbone.onnx")
    config = describe_backbone(tmp_path / "backbone.onnx")
    pixels = np.random.default_rng(1).normal(size=(3, 3, SIDE_PX, SIDE_PX)).astype(np.float32)
    plain = Backbone(config)
    turned = plain.grids(np.ascontiguousarray(pixels[..., ::-1]))
    turned = turned.reshape(3, config.rows, config.columns, -1)[:, :, ::-1].reshape(turned.shape)
    found = Backbone(config, two_views=True).grids(pixels)
    np.testing.assert_allclose(found, (plain.grids(pixels) + turned) / 2, rtol=1e-5, atol=1e-6)


def test_cut_graph_holds_no_classifier(tmp_path):
    write_backbone(tmp_path / "backbone.onnx")
    graph = grid_graph(describe_backbone(tmp_path / "backbone.onnx")).graph
    assert "class_weight" not in {tensor.name for tensor in graph.initializer}
    assert "GlobalAveragePool" not in {node.op_type for node in graph.node}


def test_a_named_tensor_is_the_grid(tmp_path):
    write_backbone(tmp_path / "backbone.onnx")
    config = describe_backbone(tmp_path / "backbone.onnx", outputs=["convolved"])
    grids = Backbone(config).grids(np.ones((1, 3, SIDE_PX, SIDE_PX), np.float32))
    assert grids[..., :12].min() < 0  # before the rectifier


def test_bad_backbones_are_refused(tmp_path):
    file = tmp_path / "backbone.onnx"
    with pytest.raises(DataError, match="no backbone at"):
        describe_backbone(file)
    file.write_bytes(b"no network")
    with pytest.raises(DataError, match="no ONNX file"):
        describe_backbone(file)
    write_backbone(file)
    with pytest.raises(DataError, match="no tensor 'nowhere'"):
        describe_backbone(file, outputs=["nowhere"])
    with pytest.raises(DataError, match="no tensor 'flat'"):
        describe_backbone(file, outputs=["flat"])


def test_another_file_in_the_same_place_is_refused(tmp_path):
    write_backbone(tmp_path / "backbone.onnx", seed=0)
    config = describe_backbone(tmp_path / "backbone.onnx")
    write_backbone(tmp_path / "backbone.onnx", seed=1)
    with pytest.raises(DataError, match="sha256 differs"):
        grid_graph(config)
