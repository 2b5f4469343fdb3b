"""Faults of runtimes that docs/runtimes.md lists, and that no other test goes around."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import symbucket as sb

ROOT = Path(__file__).parents[2]


def test_slices_that_could_become_splits_of_one_name():
    """onnxruntime-training 1.19.2 can give two Splits that it makes of Slices one name."""
    parts = []
    for name in ("a", "b", "c"):
        x = sb.sym.Variable(name)
        parts += [sb.sym.slice_axis(x, axis=1, begin=i, end=i + 2) for i in (0, 2, 4)]
        parts += list(sb.sym.SliceChannel(x, num_outputs=3, axis=1))
    symbol = sb.sym.add_n(*parts)
    values = {n: np.arange(12, dtype=np.float32).reshape(2, 6) for n in ("a", "b", "c")}
    executor = symbol.simple_bind(sb.cpu(), **{n: v.shape for n, v in values.items()})
    output = executor.forward(is_train=True, **values)[0].asnumpy()
    executor.backward([np.ones_like(output)])
    expected = 2 * sum(v.reshape(2, 3, 2).sum(axis=1) for v in values.values())
    np.testing.assert_allclose(output, expected)
    assert (executor.grad_dict["b"].asnumpy() == 2).all()


def test_the_root_of_infinity_is_no_finite_number():
    """onnxruntime-training 1.19.2 makes it NaN, as it does PRelu of infinity."""
    numbers = sb.nd.array([np.inf] * 9 + [4.0])
    roots = sb.nd.sqrt(numbers).asnumpy()
    slopes = sb.nd.LeakyReLU(numbers, sb.nd.array([0.25]), act_type="prelu").asnumpy()
    assert not np.isfinite(roots[:9]).any()
    assert not np.isfinite(slopes[:9]).any()
    assert [roots[9], slopes[9]] == [2.0, 4.0]


def test_the_sigmoid_is_off_by_what_rounding_is_at_one():
    numbers = np.linspace(-30, 30, 601, dtype=np.float32)
    exact = 1 / (1 + np.exp(-numbers.astype(np.float64)))
    off = sb.nd.sigmoid(sb.nd.array(numbers)).asnumpy() - exact
    assert np.abs(off).max() < 1.2e-7
    logarithms = sb.nd.log_sigmoid(sb.nd.array(numbers)).asnumpy()
    np.testing.assert_allclose(logarithms, -np.logaddexp(0, -numbers.astype(float)), rtol=2e-6)


def test_every_row_of_the_table_names_a_test_that_exists():
    page = (ROOT / "docs" / "runtimes.md").read_text(encoding="utf-8")
    section = page.split("## Wrong results")[1].split("## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 6
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)`", row.rsplit("|", 2)[1])
        assert tests, row
        assert all((ROOT / test).is_file() for test in tests), row
