"""README.md and CONTRIBUTING.md tell the truth: their programs run and print what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [body for kind, body in BLOCK.findall(text) if kind == language]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_programs_print_what_the_document_says(document, tmp_path):
    programs, printed = blocks(document, "python"), blocks(document, "text")
    assert programs
    assert printed
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n\n".join(programs)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "".join(printed)


def commands() -> list[str]:
    return blocks("README.md", "sh")


def test_readme_opens_with_two_commands_of_one_line():
    assert len(commands()) == 2
    for command in commands():
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert command.count("\n") == 1
    train, test = commands()
    assert train.endswith(".venv/bin/python examples/lstm_bucketing.py\n")
    assert test.endswith(".venv/bin/python -m pytest\n")


@pytest.mark.parametrize("command", commands())
def test_commands_name_extras_and_files_that_exist(command):
    (extras,) = re.findall(r'"\.\[([a-z,]+)\]"', command)
    assert set(extras.split(",")) <= set(metadata("symbucket").get_all("Provides-Extra") or [])
    for word in shlex.split(command):
        if word.endswith(".py"):
            assert (ROOT / word).is_file()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/DESIGN.md"])
def test_links_and_paths_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:symbucket|tests|examples|docs)/[\w/.]+)`", text)
    assert links or paths
    for link in links:
        assert ((ROOT / document).parent / link).exists(), link
    for path in paths:
        assert (ROOT / path).exists(), path
