"""The cells of the notebook run one after the other, and what they end with can be shown."""

from __future__ import annotations

import ast
import json
import re
import tempfile
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "tour.ipynb"


def test_the_tour(capsys: pytest.CaptureFixture[str], monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    names: dict[str, object] = {"__name__": "__main__"}
    shown = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"], f"cell {number} was saved with outputs"
        *body, last = ast.parse("".join(cell["source"])).body
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(body, []), f"cell {number}", "exec"), names)
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
            shown += [] if value is None else [value._repr_html_()]
        else:
            exec(compile(ast.Module([*body, last], []), f"cell {number}", "exec"), names)
    assert len(shown) == 5
    assert all(re.match(r"<(table|svg|div)", text) for text in shown)
    out = capsys.readouterr().out
    assert float(re.search(r"accuracy (\d+)%", out)[1]) >= 95  # type: ignore[index]
    assert "[1, 3, 5, 7] counts in steps of 2" in out
    assert "[9, 10, 1, 2, 3, 4, 5] counts in steps of 1" in out


def test_links_of_the_tour_lead_on() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", NOTEBOOK.read_text(encoding="utf-8")):
        assert (NOTEBOOK.parent / link).exists(), link
