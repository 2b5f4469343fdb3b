"""The programs on the page of models from PyTorch run."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

PAGE = Path(__file__).parents[2] / "docs" / "torch-models.md"


@pytest.mark.filterwarnings("ignore")
def test_the_programs_train_load_and_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, export = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    names: dict[str, object] = {}
    exec(program.replace("num_epoch=2", "num_epoch=1"), names)
    before = names["sym_gen"].symbol(12).nodes()
    weight = next(node.value for node in before if node.name == "out.weight")
    assert (names["module"].out.weight.detach().numpy() != weight).all()
    exec(export, names)
    assert len(names["report"].trained) == len(list(names["module"].parameters()))
