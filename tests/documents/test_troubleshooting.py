"""Every error text on the page about troubleshooting is one that the library has."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache

from symbucket import errors
from tests.documents.pages import ROOT, read

PAGE = "docs/troubleshooting.md"
HOLE = "\0"  # what is put into a text when the error is raised


def text_of(node: ast.AST) -> str | None:
    """The text that an expression makes, with holes for values; None if it makes none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or HOLE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [text_of(node.left), text_of(node.right)]
        return None if sides == [None, None] else "".join(side or HOLE for side in sides)
    return None


@cache
def texts() -> frozenset[str]:
    """Every text in the library's sources."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "symbucket").rglob("*.py"))
    ]
    return frozenset(text for tree in trees for node in ast.walk(tree) if (text := text_of(node)))


def occurs(quoted: str) -> bool:
    parts = quoted.split("...")
    return any(_in_order(parts, text) for text in texts() if max(parts, key=len) in text)


def _in_order(parts: list[str], text: str) -> bool:
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def test_quoted_texts_are_those_of_the_library():
    quoted = re.findall(r"\*\*`(.+?)`\*\*", read(PAGE))
    assert len(quoted) > 80
    assert len(set(quoted)) == len(quoted)
    assert [text for text in quoted if not occurs(text)] == []
    assert not occurs("a text that no error of this library has")


def test_every_kind_of_error_has_a_row():
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and kind is not errors.SymbucketError
    }
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", read(PAGE), re.MULTILINE))
    assert rows.keys() == kinds.keys()
    for name, base in rows.items():
        assert base in [parent.__name__ for parent in kinds[name].__mro__], name
