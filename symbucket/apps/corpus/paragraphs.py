"""The prose of a docstring: markup, tables, code and doctests are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BULLET = re.compile(r"(?:[-*+o•]|\(?\d{1,2}[.)]|\[\d+\]|\(?[a-z]\))\s+(?=\S)")
_FIELD = re.compile(r"(?::[a-zA-Z][^:`]*:|@\w+(?: \w+)?:)(?=\s|$)\s*")
_NOTE = re.compile(r"\.\. (?:note|warning|tip|caution|important|seealso|attention)::\s*")
_DIRECTIVE = re.compile(r"\.\.(?:\s|$)")
_RULE = re.compile(r"[\W_]+$")  # underlines and table borders
_COLUMNS = re.compile(r"\S(?: {3,}|\t)\S")  # words set in columns: a table, a list of options
_TABLE_ROW = re.compile(r"[|+].*[|+]$")
_STATEMENT = re.compile(
    r"(?:\$ |%|#|@\w)|(?:def|class|import|from|for|while|if|elif|with|try|return|print|raise)\b"
    r".*[:=()]$|[\w.\[\]]+\s*(?:[-+*/|&]?=|::=)\s"
)
_UNFINISHED = re.compile(r"[\w,;)`'\"-]$")


def paragraphs(text: str) -> Iterator[str]:
    """Yield the prose of a docstring, a paragraph or a list item at a time, each on one line."""
    current: list[str] = []
    column = 0  # where the lines of the current paragraph begin
    literal: int | None = None  # column whose literal block or directive is being skipped
    in_doctest = False
    for line in text.expandtabs().splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        finished: list[str] = []
        if not stripped:
            in_doctest = False
            finished, current = current, []
        elif literal is not None and indent > literal:
            continue
        elif in_doctest or stripped.startswith(">>>"):
            in_doctest, current = True, []  # up to a blank line it is the output
        elif (note := _NOTE.match(stripped)) is None and _DIRECTIVE.match(stripped):
            literal = indent
            finished, current = current, []
        elif any(p.match(stripped) for p in (_RULE, _TABLE_ROW, _STATEMENT)) or (
            _COLUMNS.search(stripped)
        ):
            literal, current = None, []  # the lines above are a title or half a sentence
        else:
            literal = None
            marker = note or _BULLET.match(stripped) or _FIELD.match(stripped)
            start = marker.end() if marker else 0
            hanging = (  # "Note: this goes on\n    over here." in contrast to "name\n    text"
                indent > column
                and bool(current)
                and stripped[0].islower()
                and len(current[-1].split()) > 4
                and _UNFINISHED.search(current[-1]) is not None
            )
            if marker or (indent != column and not hanging):
                finished, current = current, []
            column = indent if note else indent + start
            body = stripped[start:]
            if body.endswith("::"):
                literal, body = indent, body[:-1]
            if body:
                current.append(body)
        if finished:
            yield " ".join(finished)
    if current:
        yield " ".join(current)
