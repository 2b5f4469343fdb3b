"""English on every machine that has Python: its manual, docstrings and comments."""

from __future__ import annotations

import ast
import builtins
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType

from symbucket.apps.corpus.paragraphs import paragraphs
from symbucket.apps.corpus.tokens import Chunk, split_sentences, word_set
from symbucket.errors import DataError

# Tests and demonstrations hold little prose, and not every distribution has them; what is
# installed beside the library differs between machines.
_SKIPPED_FOLDERS = word_set(
    "site-packages dist-packages test tests idle_test idlelib turtledemo lib2to3 encodings "
    "lib-dynload __pycache__ __phello__"
)
_COMMENT_BLOCK = re.compile(r"^(?:[ \t]*#.*(?:\n|\Z))+", re.MULTILINE)
_COMMENT_SIGN = re.compile(r"^[ \t]*#+:? ?", re.MULTILINE)


def _source_files(library: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(library):
        folders[:] = sorted(
            f for f in folders if f not in _SKIPPED_FOLDERS and not f.startswith("config-")
        )
        for name in sorted(files):
            # The build's variables: one file for each platform, no prose.
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                yield Path(root, name)


def _docstrings(source: bytes) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and functions, in the order of the source."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody else's file
            pending: list[ast.AST] = [ast.parse(source)]
    except (SyntaxError, ValueError, RecursionError):
        return  # a template, or a file for another version
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        # Only what has a body can hold a definition; expressions need not be walked.
        for field in ("finalbody", "orelse", "handlers", "body"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                pending.extend(s for s in reversed(statements) if hasattr(s, "body"))


def _comments(source: bytes) -> Iterator[str]:
    """Yield the comments that have lines of their own, adjacent lines together."""
    for block in _COMMENT_BLOCK.findall(source.decode("utf-8", errors="replace")):
        yield _COMMENT_SIGN.sub("", block)


def _documentation(library: Path) -> Iterator[str]:
    try:
        from pydoc_data import topics as manual
    except ImportError:  # some distributions leave it out
        pass
    else:
        yield from (manual.topics[name] for name in sorted(manual.topics))
    for _, thing in sorted(vars(builtins).items()):
        # Interactive shells and debuggers add objects of other kinds.
        if isinstance(thing, type | BuiltinFunctionType):
            members = vars(thing).values() if isinstance(thing, type) else ()
            yield from (m.__doc__ for m in (thing, *members) if isinstance(m.__doc__, str))
    for path in _source_files(library):
        try:
            source = path.read_bytes()
        except OSError:
            continue  # a broken link; the other files are as good
        yield from _docstrings(source)
        yield from _comments(source)


def python_sentences() -> list[list[str]]:
    """Return the sentences of Python's own documentation as lists of tokens.

    Sources: the reference manual in ``pydoc_data.topics``, the built-ins, and the docstrings and
    comments of the standard library, which are parsed out of its files, so that no module is
    imported and run. Each sentence comes once, in the order of first appearance; with one
    Python version every call gives the same list. It takes a few seconds.

    Raises:
        DataError: this Python has neither its reference manual nor the library's source.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    cache: dict[str, Chunk] = {}
    sentences: dict[tuple[str, ...], None] = {}
    for text in _documentation(library):
        for paragraph in paragraphs(text):
            for sentence in split_sentences(paragraph, cache):
                sentences.setdefault(tuple(sentence))
    if len(sentences) < 2000:  # the built-ins alone give some hundreds
        raise DataError(
            f"found only {len(sentences)} sentences of Python's documentation: {library} has no "
            ".py files with docstrings, and pydoc_data is missing or empty, as in an installation "
            "of bytecode alone. Train on a text file instead: read_sentences(path), one sentence a "
            "line"
        )
    return [list(sentence) for sentence in sentences]
