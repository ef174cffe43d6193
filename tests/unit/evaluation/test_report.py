from evaluation.report import render, table

BUNDLE = {"name": "fake", "space": "s", "recipe": "none", "judge": "match"}
NOTHING_SKIPPED = {"count": 0, "pictures": []}


def test_a_table_lines_up():
    assert table(["", "rows"], [["colour", "12"], ["a|b", "3"]]) == [
        "|        | rows |",
        "| ------ | ---: |",
        "| colour |   12 |",
        "| a\\|b   |    3 |",
    ]


def test_every_number_stands_beside_its_control():
    result = {
        "bundle": BUNDLE,
        "proofreading": {
            "count": 3,
            "count_words": 18,
            "count_corrections": 2,
            "auroc": 0.9,
            "blind_auroc": 0.6,
            "correction_top1": None,
            "blind_correction_top1": None,
            "interval": {"auroc": [0.85, 0.951], "correction_top1": None},
        },
        "grounding": {
            "count": 2,
            "count_single_box": 1,
            "pointing": 0.5,
            "centre_pointing": 0.25,
            "blind_pointing": 0.1,
            "interval": {"pointing": [0.0, 1.0]},
        },
        "judgements": {
            "count": 2,
            "count_judgements": 6,
            "tau_c": 0.51234,
            "blind_tau_c": 0.05,
            "interval": {"tau_c": [0.5, 0.52]},
        },
        "skipped": NOTHING_SKIPPED,
    }
    assert (
        render(result)
        == """# fake

Recipe none; pairs are judged by the fusion graph.

### Proofreading (3 rows, 18 words, 2 corrections)

|                           |       value (95 %) |                control |
| ------------------------- | -----------------: | ---------------------: |
| word AUROC                | 90.0 % (85.0–95.1) | 60.0 % another picture |
| first suggestion is right |                  – |      – another picture |

### Grounding (2 rows, 1 single box)

|          |       value (95 %) |                              control |
| -------- | -----------------: | -----------------------------------: |
| pointing | 50.0 % (0.0–100.0) | 25.0 % middle, 10.0 % another phrase |

### Judgements (2 rows, 6 judgements)

|               |        value (95 %) |               control |
| ------------- | ------------------: | --------------------: |
| Kendall tau-c | 0.512 (0.500–0.520) | 0.050 another picture |
"""
    )


def test_retrieval_has_a_row_for_each_way():
    way = {"count": 10, "r@1": 0.1, "r@5": 0.2, "r@10": 0.3, "median_rank": 7.5, "interval": {"r@1": [0.05, 0.15]}}
    way["chance"] = {"r@1": 0.001, "r@5": 0.005, "r@10": 0.01}
    page = render(
        {
            "bundle": {**BUNDLE, "judge": "dual"},
            "retrieval": {"count": 2, "text_to_image": way, "image_to_text": way},
            "skipped": NOTHING_SKIPPED,
        }
    )
    assert "pairs are judged by the dual encoder alone" in page
    assert "### Retrieval (2 pictures)" in page
    assert "| text to image |      10 | 10.0 % (5.0–15.0) | 20.0 % | 30.0 % |         7.5 |" in page
    assert "| … by chance   |         |             0.1 % |  0.5 % |  1.0 % |           – |" in page


def test_types_have_their_own_table_and_chance_is_named():
    rates = {"count": 4, "accuracy": 0.5, "dual_accuracy": 0.25, "blind_accuracy": 0.5, "interval": {}}
    group = {**rates, "macro_accuracy": 0.5, "by_type": {"count": rates, "colour": rates}}
    page = render({"bundle": BUNDLE, "hard_negatives": group, "skipped": NOTHING_SKIPPED})
    assert "| pairwise accuracy     |       50.0 % | 50.0 % another picture |" in page
    assert "| count  |    4 |            50.0 % |              25.0 % |          50.0 % |" in page
    pairs = {"count": 4, "text": 0.5, "group": 0.25, "interval": {}}
    page = render({"bundle": BUNDLE, "image_pairs": pairs, "skipped": NOTHING_SKIPPED})
    assert "| group score |       25.0 % | 16.7 % chance |" in page


def test_what_was_left_out_is_said():
    page = render(
        {
            "bundle": BUNDLE,
            "skipped": {"count": 1, "pictures": [{"image": "a.jpg", "reason": "No such file"}]},
            "unavailable": {"grounding": "no patches."},
        }
    )
    assert "### No grounding\n\n- no patches.\n" in page
    assert "cannot be read: 1\n\n- a.jpg: No such file\n" in page
