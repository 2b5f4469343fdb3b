"""README, CONTRIBUTING and the pages in docs are true: their programs run, their links lead on."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import metadata

import pytest

import symbucket as sb
from symbucket.cli.main import build
from symbucket.compiler.rewrite.base import PASSES
from tests.documents.pages import DOCUMENTS, FENCED, PAGES, ROOT, blocks, commands, programs, read
from tests.documents.shell import Shell, write_inputs, write_networks
from tools import operator_docs

END = "<end of a program>\n"
LINKED = [*DOCUMENTS, "CHANGELOG.md", "SECURITY.md"]
WITH_PROGRAMS = [document for document in DOCUMENTS if programs(document)]
WITH_COMMANDS = [document for document in DOCUMENTS if commands(document)]
SLOW = {"docs/command-line.md", "docs/examples.md", "docs/planner.md", "docs/transformer.md"}


def test_the_pages_are_there():
    names = """
        DESIGN
        arrays
        benchmarks
        buckets
        bundles
        command-line
        control-flow
        ctc
        data
        examples
        glossary
        installing
        lengths
        moving-from-mxnet
        onnx-models
        onnx-support
        operators
        passes
        pictures
        planner
        reliability
        runtimes
        serving
        streams
        torch-models
        training
        training-files
        transformer
        troubleshooting
        tutorial
        workers
    """
    assert {f"docs/{name}.md" for name in names.split()} == {*PAGES}


def test_every_block_is_run_or_says_why_not():
    reasons = {}
    for document in DOCUMENTS:
        for language, text, reason in blocks(document):
            assert language in ("python", "text", "sh", ""), f"{document}: {language}"
            if language == "":  # a figure
                assert not re.search(r"^ *(\$ )?(symbucket|python3?|pip|curl) ", text, re.MULTILINE)
            if reason:
                reasons.setdefault(document, []).append(reason)
        comments = re.findall(r"^ *<!-- not run:", read(document), re.MULTILINE)
        assert len(comments) == len(reasons.get(document, [])), document
    assert {document: len(texts) for document, texts in reasons.items()} == {
        "README.md": 2,  # .ci/run runs these two
        "CONTRIBUTING.md": 1,
        "docs/benchmarks.md": 1,
        "docs/installing.md": 2,
        "docs/serving.md": 1,
        "docs/torch-models.md": 2,  # tests/pytorch runs them
    }
    assert all(len(reason) > 15 for texts in reasons.values() for reason in texts)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in sorted({*WITH_PROGRAMS, *WITH_COMMANDS})
    ],
)
def test_programs_and_commands_do_what_the_document_says(document, tmp_path, monkeypatch):
    if document in WITH_PROGRAMS:
        run_programs(document, tmp_path)
    if document in WITH_COMMANDS:
        monkeypatch.chdir(tmp_path)
        write_inputs(tmp_path)
        with contextlib.closing(Shell(tmp_path)) as shell:
            for words in commands(document):
                assert shell.run(words)


def run_programs(document, folder):
    pairs = programs(document)
    assert document == "docs/pictures.md" or any(output for _, output in pairs)
    text = "\n\n".join(f"{program}\nprint({END!r}, end='')\n" for program, _ in pairs)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=folder,
        env=env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split(END) == [*(output for _, output in pairs), ""]


@pytest.mark.slow
def test_examples_of_help_run(tmp_path, monkeypatch):
    """Those of ``serve`` run on the page about it."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    write_networks(tmp_path)
    shell = Shell(tmp_path)
    _, parsers = build()
    lines = 0
    for name, parser in parsers.items():
        _, _, examples = parser.epilog.partition(":\n")
        text = examples.partition("\nexit codes")[0].replace("\\\n", " ")
        for line in re.split(r"[;\n]", text):
            if name != "serve" and line.strip():
                shell.run(shlex.split(line))
                lines += 1
    assert lines > 15


def test_the_page_of_operators_is_what_the_records_say(tmp_path, monkeypatch, capsys):
    page = operator_docs.page()
    monkeypatch.setattr(operator_docs, "page", lambda: page)
    assert operator_docs.main(["--check"]) == 0, capsys.readouterr().out

    # The check can fail: here it reads a page that says something else.
    stale = tmp_path / "operators.md"
    stale.write_text(page.replace("`num_hidden`: an integer", "`num_hidden`: a number"), "utf-8")
    monkeypatch.setattr(operator_docs, "PAGE", stale)
    assert operator_docs.main(["--check"]) == 1
    assert "+* `num_hidden`: an integer; *required*." in capsys.readouterr().out


def test_every_pass_has_its_paragraph():
    headings = re.findall(r"^## (.+)$", read("docs/passes.md"), re.MULTILINE)
    assert set(PASSES) <= set(headings)


def test_every_kind_of_document_is_reached_from_readme():
    links = re.findall(r"\]\((docs/[\w.-]+\.md)\)", read("README.md"))
    assert set(PAGES) == set(links)


# Commands ----------------------------------------------------------------------------------------


def readme_commands() -> list[str]:
    return [text for language, text, _ in blocks("README.md") if language == "sh"]


def test_readme_opens_with_two_commands_of_one_line():
    assert len(readme_commands()) == 2
    for command in readme_commands():
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert command.count("\n") == 1
    train, test = readme_commands()
    assert train.endswith(".venv/bin/python examples/lstm_bucketing.py\n")
    assert test.endswith(".venv/bin/python -m pytest\n")


@pytest.mark.parametrize("command", readme_commands())
def test_commands_name_extras_and_files_that_exist(command):
    (extras,) = re.findall(r'"\.\[([a-z,]+)\]"', command)
    assert set(extras.split(",")) <= set(metadata("symbucket").get_all("Provides-Extra") or [])
    for word in shlex.split(command):
        if word.endswith(".py"):
            assert (ROOT / word).is_file()


def command_lines(document: str) -> list[str]:
    """Return the commands in the text and in its blocks, without ``symbucket``."""
    text = FENCED.sub("", read(document))
    inline = re.findall(r"(?<![*])`symbucket ([a-z]+[^`]* [^`]*)`", text)
    in_blocks = [
        shlex.join(words[1:]).partition(" '>'")[0]
        for words in commands(document)
        if words[0] == "symbucket"
    ]
    return [" ".join(line.split()) for line in (*inline, *in_blocks)]


@pytest.mark.parametrize("line", sorted({line for d in DOCUMENTS for line in command_lines(d)}))
def test_command_lines_parse(line):
    parser, known = build()
    args = parser.parse_args(shlex.split(line.replace("EPOCH", "1")))
    assert args.command in known


@pytest.mark.parametrize("document", ["docs/benchmarks.md"])
def test_options_of_benchmarks_exist(document):
    lines = re.findall(r"^python (benchmarks/\w+\.py)(.*)$", read(document), re.MULTILINE)
    assert lines
    for path, options in lines:
        for option in re.findall(r"--[\w-]+", options):
            assert f'"{option}"' in read(path), f"{path} {option}"


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
    inline = re.findall(r"`(sb(?:\.[A-Za-z]\w*)+)", FENCED.sub("", read(document)))
    for name in inline:
        value = sb
        for part in name.split(".")[1:]:
            if part == "NAME":  # a placeholder
                break
            assert hasattr(value, part), f"{document}: {name}"
            value = getattr(value, part)


def test_public_modules_have_a_page_in_the_reference():
    modules = [m for m in (getattr(sb, n) for n in sb.__all__) if inspect.ismodule(m)]
    pages = [f"docs/api/{m.__name__.removeprefix('symbucket.')}.rst" for m in modules]
    assert [page for page in pages if not (ROOT / page).is_file()] == []


# Tools -------------------------------------------------------------------------------------------


def test_pre_commit_runs_the_linter_that_ci_runs():
    pins = set(re.findall(r"ruff==[\d.]+", read("pyproject.toml")))
    assert len(pins) == 1
    assert set(re.findall(r"ruff==[\d.]+", read(".pre-commit-config.yaml"))) == pins


def test_contributing_names_every_session_of_nox():
    table = FENCED.sub("", read("CONTRIBUTING.md")).partition("## ")[0]
    sessions = re.findall(r"^@nox\.session\n(?:@.*\n)?def (\w+)", read("noxfile.py"), re.MULTILINE)
    assert sessions
    named = set(re.findall(r"`(\w+)(?:\(\w+\))?`", table))
    assert set(sessions) <= named
