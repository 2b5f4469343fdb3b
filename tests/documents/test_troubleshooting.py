"""Every error text on the page about troubleshooting is one that the library has."""

from __future__ import annotations

import ast
import inspect
import re

from symbucket import errors
from tests.documents.pages import ROOT, read

PAGE = "docs/troubleshooting.md"
LINE_BREAK = re.compile(r"[\"']\s*\n\s*[rf]*[\"']")  # between the parts of one literal
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


def occurring(quotations: list[str]) -> set[str]:
    """Those that a text of the library holds; only files that may hold one are parsed."""
    parts = {quoted: quoted.split("...") for quoted in quotations}
    longest = {quoted: max(parts[quoted], key=len) for quoted in quotations}
    hits = set()
    for path in sorted((ROOT / "symbucket").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        joined = LINE_BREAK.sub("", source).replace('\\"', '"')
        candidates = [quoted for quoted in quotations if longest[quoted] in joined]
        if candidates:
            texts = [text for node in ast.walk(ast.parse(source)) if (text := text_of(node))]
            hits |= {q for q in candidates for text in texts if _in_order(parts[q], text)}
    return hits


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
    absent = "a text that no error of this library has"
    assert occurring([*quoted, absent]) == set(quoted)


def test_every_kind_of_error_has_a_row():
    """Its own, or that of the kind that it is a special case of."""
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and kind is not errors.SymbucketError
    }
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", read(PAGE), re.MULTILINE))
    assert set(rows) <= set(kinds)
    general = [kinds[name] for name in rows if name != "InvalidArgumentError"]
    for name in kinds.keys() - rows.keys():
        assert issubclass(kinds[name], tuple(general)), name
    for name, base in rows.items():
        assert base in [parent.__name__ for parent in kinds[name].__mro__], name
