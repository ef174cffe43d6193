"""The page: it stands alone, says every number, and shows what failed."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from evaluation.failures import clearest
from evaluation.items import Item, ItemWord
from evaluation.page import render_page
from evaluation.run import evaluate
from evaluation.suite import evaluate_suite, load
from runtime.engines.fake import fake_encoder
from tests.unit.evaluation.conftest import COLOURS
from tests.unit.evaluation.test_items import world

VOID = {"meta", "img", "br", "path", "use", "image"}


class Reader(HTMLParser):
    """Text of a page, what it links to, and whether its elements close."""

    def __init__(self):
        super().__init__()
        self.text, self.links, self.open, self.counts = [], [], [], {}

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert page.count("<svg") == page.count("</svg>")
    return reader, " ".join(" ".join(reader.text).split())


def test_the_page_says_every_number_and_needs_nothing_else(images, tmp_path):
    items = []
    result = evaluate(fake_encoder(), images=images, **world(tmp_path, right=4), on_items=items.extend)
    page = render_page(result, items, pictures={"": images})
    reader, text = read(page)
    assert all(re.match(r"#|data:", link) for link in reader.links)
    for title in (
        "Retrieval",
        "Hard negatives",
        "Proofreading",
        "Grounding",
        "Image pairs",
        "Judgements",
        "Statements",
    ):
        assert title in text
    assert f"{100 * result['hard_negatives']['accuracy']:.1f} %" in text
    assert "another picture" in text
    assert reader.counts["svg"] >= 4  # ranks, words, places, kinds of hard negatives
    failed = len(COLOURS) - 4
    assert page.count('class="failure"') >= failed
    assert reader.counts["img"] == page.count('class="failure"')
    assert page == render_page(result, items, pictures={"": images})


def test_a_suite_has_a_summary_and_names_are_escaped(images, tmp_path):
    files = world(tmp_path, right=7)
    (tmp_path / "suite.toml").write_text(
        f'images = "images"\n[[run]]\nname = "<one> & only"\nstatements = "{files["statements"].name}"\n'
        f'[[run]]\nname = "two"\nretrieval = "{files["retrieval"].name}"\n'
    )
    items = []
    suite = load(tmp_path / "suite.toml")
    result = evaluate_suite(fake_encoder(), suite, on_items=items.extend)
    page = render_page(result, items, pictures={run.name: run.images for run in suite.runs})
    _, text = read(page)
    assert "<one> & only · Statements: AUROC of true and false" in text
    assert "two · Retrieval: text to image R@1 100.0 % (100.0–100.0) 14.3 % chance" in text
    assert "<one>" not in page


def test_a_picture_that_has_gone_is_no_reason_to_fail(images, tmp_path):
    items = []
    result = evaluate(fake_encoder(), images=images, **world(tmp_path, right=0), on_items=items.extend)
    page = render_page(result, items, pictures={"": tmp_path / "gone"})
    assert "<img" not in page
    assert 'class="failure"' in page


def hard(picture, *, right, wrong):
    return Item(
        group="hard_negatives",
        picture=picture,
        asked=("true", "false"),
        type="x",
        hits={"accuracy": right > wrong},
        scores={"caption": right, "negative_caption": wrong},
    )


def test_the_surest_failure_comes_first_and_a_picture_once():
    items = [hard("a", right=1, wrong=2), hard("b", right=0, wrong=5), hard("c", right=2, wrong=1)]
    items += [hard("a", right=0, wrong=3)] + [hard(f"d{n}", right=0, wrong=0.5) for n in range(9)]
    found = clearest(items, most=4)["hard_negatives"]
    assert [failure.picture for failure in found][:2] == ["b", "a"]
    assert len(found) == 4
    assert len({failure.picture for failure in found}) == 4
    assert found[0].said == ["true", "preferred: false", "x"]


def test_a_missed_word_is_named():
    """And the one suspected in its place: of the wrong caption, not of the true one, whose words come behind."""
    words = [
        ItemWord(text=text, is_wrong=text == "blue", error=error, blind_error=None)
        for text, error in (("a", 0.1), ("blue", 0.2), ("dog", 0.9), ("a", 0.1), ("red", 0.95), ("dog", 0.1))
    ]
    item = Item(
        group="proofreading", picture="p", asked=("a red dog", "a blue dog"), hits={"word_top1": False}, words=words
    )
    assert clearest([item])["proofreading"][0].said[1] == "wrong is: blue; suspected: dog"


@pytest.mark.parametrize("missing", [True, False])
def test_without_matplotlib_the_call_says_what_to_install_before_it_works(missing, tmp_path):
    code = f"""
import sys
if {missing}:
    sys.modules["matplotlib"] = None  # what an import finds where it is not installed
sys.argv = ["vernier", "eval", "no-bundle", "--images", ".", "--retrieval", "none.jsonl", "--report", "out.html"]
from vernier.cli import main
main()
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ("pip install 'vernier[plots]'" in ran.stderr) == missing
    assert ("none.jsonl cannot be read" in ran.stderr) == (not missing)
