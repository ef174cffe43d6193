import numpy as np

from export.remember import RememberingEngine


class _Counting:
    provider = "counting"

    def __init__(self):
        self.rows = 0

    def run(self, inputs, outputs=None):
        self.rows += len(inputs["x"])
        every = {"double": 2 * inputs["x"], "sum": inputs["x"].sum(axis=1)}
        return every if outputs is None else {name: every[name] for name in outputs}


def test_what_was_worked_out_once_is_not_worked_out_again():
    inner = _Counting()
    engine = RememberingEngine(inner)
    x = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(engine.run({"x": x[:2]}, ["sum"])["sum"], x[:2].sum(axis=1))
    found = engine.run({"x": x[[3, 1, 0, 3]]}, ["sum"])  # only row 3 is new
    np.testing.assert_array_equal(found["sum"], x[[3, 1, 0, 3]].sum(axis=1))
    assert inner.rows == 4
    np.testing.assert_array_equal(engine.run({"x": x})["double"], 2 * x)
    assert inner.rows == 8
    engine.run({"x": x}, ["double", "sum"])
    assert inner.rows == 8
    assert engine.provider == "counting"


def test_a_row_is_told_by_all_of_its_numbers():
    engine = RememberingEngine(_Counting())
    x = np.zeros((1, 3))
    engine.run({"x": x}, ["sum"])
    x[0, 2] = np.nextafter(0.0, 1.0)
    assert engine.run({"x": x}, ["sum"])["sum"][0] > 0
