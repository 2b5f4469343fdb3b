"""Documents and the blocks in them.

A block is code between fences. Of its language is said what it is:

* ``python``: a program; those of a page run one after another in one process;
* ``text``: what the program or command before it prints;
* ``sh``: commands, one a line (``\\`` goes on in the next one);
* none: a figure.

A comment ``<!-- not run: reason -->`` before a block leaves it out.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *PAGES]

FENCED = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^>]+) -->\n)?"
    r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One block; ``reason`` says why it is not run, if it is not."""

    language: str
    text: str
    reason: str


class Program(NamedTuple):
    """A program and what it prints."""

    text: str
    output: str


def read(document: str) -> str:
    """The text of a document."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    """Every fenced block of a document."""
    matches = FENCED.finditer(read(document))
    return [Block(m["language"], m["text"], (m["reason"] or "").strip()) for m in matches]


def programs(document: str) -> list[Program]:
    """The programs of a document; one without a text block after it prints nothing."""
    pairs: list[Program] = []
    for language, text, reason in blocks(document):
        if reason:
            continue
        if language == "python":
            pairs.append(Program(text, ""))
        elif language == "text":
            assert pairs, f"{document}: there is no program before {text!r}"
            assert not pairs[-1].output, f"{document}: two outputs of one program: {text!r}"
            pairs[-1] = Program(pairs[-1].text, text)
    return pairs


def commands(document: str) -> list[list[str]]:
    """The words of every command of a document that is run."""
    lines = [
        line
        for language, text, reason in blocks(document)
        if language == "sh" and not reason
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return [shlex.split(line) for line in lines if line.strip()]
