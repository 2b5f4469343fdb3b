"""README, CONTRIBUTING and the pages in docs are true: their programs run, their links lead on."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

import symbucket as sb
from symbucket.cli.main import build
from symbucket.compiler.rewrite.base import PASSES

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
END = "<end of a program>\n"

PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *PAGES]
LINKED = [*DOCUMENTS, "CHANGELOG.md", "SECURITY.md"]


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[tuple[str, str]]:
    """Return (language, text) of every fenced block."""
    return [(language, body) for _, language, body in BLOCK.findall(read(document))]


def programs(document: str) -> list[tuple[str, str]]:
    """Return (program, its output); a program without a text block after it prints nothing."""
    pairs: list[tuple[str, str]] = []
    for language, body in blocks(document):
        if language == "python":
            pairs.append((body, ""))
        elif language == "text":
            assert pairs, f"{document}: there is no program before {body!r}"
            assert not pairs[-1][1], f"{document}: two outputs of one program: {body!r}"
            pairs[-1] = (pairs[-1][0], body)
    return pairs


WITH_PROGRAMS = [document for document in DOCUMENTS if programs(document)]


def test_the_pages_are_there():
    names = """
        DESIGN
        arrays
        buckets
        bundles
        control-flow
        ctc
        glossary
        lengths
        moving-from-mxnet
        onnx-models
        operators
        passes
        planner
        reliability
        runtimes
        serving
        streams
        torch-models
        training
        training-files
        tutorial
        workers
    """
    assert {f"docs/{name}.md" for name in names.split()} == {*PAGES}
    assert set(DOCUMENTS) - set(WITH_PROGRAMS) == {
        "docs/glossary.md",
        "docs/operators.md",
        "docs/runtimes.md",
        "docs/torch-models.md",  # its program runs in tests/pytorch
    }


@pytest.mark.parametrize("document", WITH_PROGRAMS)
def test_programs_print_what_the_document_says(document, tmp_path):
    pairs = programs(document)
    assert any(output for _, output in pairs)
    text = "\n\n".join(f"{program}\nprint({END!r}, end='')\n" for program, _ in pairs)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split(END) == [*(output for _, output in pairs), ""]


def test_the_page_of_operators_is_what_the_records_say():
    command = [sys.executable, "-W", "error", "tools/operator_docs.py", "--check"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_stale_page_of_operators_is_found(tmp_path):
    """The check can fail: here it runs on a page that says something else."""
    text = read("tools/operator_docs.py").replace('ROOT / "docs"', f"Path({str(tmp_path)!r})")
    text = text.replace("Path(__file__).parents[1]", f"Path({str(ROOT)!r})")
    (tmp_path / "tool.py").write_text(text, encoding="utf-8")
    (tmp_path / "operators.md").write_text(
        read("docs/operators.md").replace("`num_hidden`: an integer", "`num_hidden`: a number"),
        encoding="utf-8",
    )
    command = [sys.executable, str(tmp_path / "tool.py"), "--check"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 1, run.stderr
    assert "+* `num_hidden`: an integer; *required*." in run.stdout


def test_every_pass_has_its_paragraph():
    headings = re.findall(r"^## (.+)$", read("docs/passes.md"), re.MULTILINE)
    assert set(PASSES) <= set(headings)


def test_every_kind_of_document_is_reached_from_readme():
    links = re.findall(r"\]\((docs/[\w.-]+\.md)\)", read("README.md"))
    assert set(PAGES) == set(links)


# Commands ----------------------------------------------------------------------------------------


def commands() -> list[str]:
    return [body for language, body in blocks("README.md") if language == "sh"]


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


def command_lines(document: str) -> list[str]:
    """Return what the document says to type after ``symbucket``."""
    arguments = []
    for language, body in blocks(document):
        if language == "":
            lines = body.replace("\\\n", " ").splitlines()
            arguments += [
                line.strip()[10:] for line in lines if line.strip().startswith("symbucket ")
            ]
    return arguments


@pytest.mark.parametrize("line", [line for d in DOCUMENTS for line in command_lines(d)])
def test_command_lines_parse(line):
    parser, known = build()
    args = parser.parse_args(shlex.split(line))
    assert args.command in known


# Names and paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("document", LINKED)
def test_links_and_paths_lead_somewhere(document):
    text = read(document)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    folders = "symbucket|tests|examples|docs|tools|benchmarks"
    paths = re.findall(rf"`((?:{folders})/[\w/.-]+)`", text)
    assert links or paths
    for link in links:
        name, _, anchor = link.partition("#")
        target = (ROOT / document).parent / name if name else ROOT / document
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
            assert anchor in anchors, link
    for path in paths:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", ["README.md", *PAGES])  # CONTRIBUTING.md makes some itself
def test_names_of_the_library_exist(document):
    """Inline code such as `sb.io.NDArrayIter` names something that exists."""
    inline = re.findall(r"`(sb(?:\.[A-Za-z]\w*)+)", BLOCK.sub("", read(document)))
    for name in inline:
        value = sb
        for part in name.split(".")[1:]:
            if part == "NAME":  # a placeholder
                break
            assert hasattr(value, part), f"{document}: {name}"
            value = getattr(value, part)


# Tools -------------------------------------------------------------------------------------------


def test_pre_commit_runs_the_linter_that_ci_runs():
    pins = set(re.findall(r"ruff==[\d.]+", read("pyproject.toml")))
    assert len(pins) == 1
    assert set(re.findall(r"ruff==[\d.]+", read(".pre-commit-config.yaml"))) == pins


def test_contributing_names_every_session_of_nox():
    table = BLOCK.sub("", read("CONTRIBUTING.md")).partition("## ")[0]
    sessions = re.findall(r"^@nox\.session\n(?:@.*\n)?def (\w+)", read("noxfile.py"), re.MULTILINE)
    assert sessions
    named = set(re.findall(r"`(\w+)(?:\(\w+\))?`", table))
    assert set(sessions) <= named
