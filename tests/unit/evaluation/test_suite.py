import pytest

from evaluation.report import render
from evaluation.suite import evaluate_suite, load
from runtime.engines.fake import fake_encoder
from runtime.errors import UsageError
from tests.unit.evaluation.conftest import COLOURS, write_lines

SUITE = """
images = "images"

[[run]]
name = "colours"
retrieval = "captions.jsonl"
split = "test"
limit = 5

[[run]]
images = "images/../images"
judgements = "judged.jsonl"
"""


@pytest.fixture
def suite_file(tmp_path, images):
    write_lines(tmp_path / "captions.jsonl", [{"image": f"{c}.png", "captions": [c], "split": "test"} for c in COLOURS])
    write_lines(
        tmp_path / "judged.jsonl",
        [{"image": f"{c}.png", "caption": c, "scores": [4]} for c in COLOURS]
        + [{"image": f"{c}.png", "caption": "white", "scores": [1]} for c in COLOURS],
    )
    path = tmp_path / "suite.toml"
    path.write_text(SUITE)
    return path


def test_a_suite_runs_each_of_its_evaluations(suite_file):
    suite = load(suite_file)
    assert [run.name for run in suite.runs] == ["colours", "run 2"]
    assert suite.runs[0].retrieval == suite_file.parent / "captions.jsonl"
    result = evaluate_suite(fake_encoder(), suite)
    assert list(result) == ["bundle", "runs"]
    assert result["bundle"]["name"] == "fake"
    assert result["runs"]["colours"]["retrieval"]["count"] == 5
    assert result["runs"]["run 2"]["judgements"]["tau_c"] == 1
    page = render(result)
    assert page.startswith("# fake\n")
    assert "## colours\n" in page
    assert "## run 2\n" in page


def test_a_run_may_read_a_public_layout(suite_file):
    captions = "".join(f"{c}.png#0\ta {c} square\n" for c in COLOURS)
    (suite_file.parent / "Flickr8k.token.txt").write_text(captions)
    suite_file.write_text(
        '[[run]]\nimages = "images"\nformat = "flickr-tokens"\npath = "Flickr8k.token.txt"\nlimit = 4\n'
    )
    result = evaluate_suite(fake_encoder(), load(suite_file))
    assert result["runs"]["run 1"]["retrieval"]["count"] == 4
    assert result["runs"]["run 1"]["retrieval"]["text_to_image"]["r@1"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("run = 3", "lists no run"),
        ("", "lists no run"),
        ("a b", "not valid TOML"),
        ('image = "x"\n[[run]]', "unknown key `image`; did you mean `images`?"),
        ('[[run]]\nimages = "x"\nretrieval_of = "y"', "run 1 .*unknown key `retrieval_of`; did you mean `retrieval`?"),
        ('[[run]]\nimages = "x"\nzzz = "y"', "unknown key `zzz`; known are name, images"),
        ('[[run]]\nretrieval = "y"', "names no folder of `images`"),
        ('[[run]]\nimages = "x"\nlimit = "5"', "`limit` must be a whole number, not '5'"),
        ('[[run]]\nimages = "x"\nlimit = true', "`limit` must be a whole number, not True"),
        ('[[run]]\nimages = "x"\npath = "y"\nformat = "vsr"\nlimit = 0', "`limit` must be at least 1, not 0"),
        ('[[run]]\nimages = "x"\nsplit = 5', "`split` must be a text, not 5"),
        ('images = 5\n[[run]]\nretrieval = "x"', "`images` must be a text, not 5"),
        (2 * '[[run]]\nname = "a"\nimages = "x"\nretrieval = "y"\n', "several runs named 'a'"),
        ('[[run]]\nimages = "x"', "names nothing to evaluate"),
        ('[[run]]\nimages = "x"\nformat = "vsr"', "`format` and `path` go together"),
        ('[[run]]\nimages = "x"\npath = "vsr"', "`format` and `path` go together"),
        ('[[run]]\nimages = "x"\npath = "y"\nformat = "sugarcrep"', "did you mean 'sugarcrepe'?"),
        ('[[run]]\nimages = "x"\npath = "y"\nformat = "zzz"', "known are coco-captions, "),
        ('[[run]]\nimages = "x"\npath = "y"\nformat = "vsr"\ngrounding = "z"', "leave `grounding` out"),
    ],
)
def test_a_suite_that_cannot_be_meant_is_refused(content, message, tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        load(path)


def test_a_suite_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "none.toml")
