"""Text for the language model examples: sentences, a vocabulary, a held-out split.

``python_sentences`` finds English on every machine that has Python: its reference manual
(``pydoc_data.topics``), and the docstrings and comments of the standard library.
``read_sentences`` takes any text file with one sentence a line, as the Penn Treebank files are.

    sentences = python_sentences()
    train, held_out = split(sentences)
    vocabulary = Vocabulary(train, min_count=3)
    ids = vocabulary.encode(train)

How documentation becomes tokens:

* Words are lower case. ``'s`` is a token of its own, so that "list" and "list's" share a word;
  hyphens, slashes and other apostrophes stay inside their word ("read-only", "and/or", "don't").
* Every number is ``<num>``: numbers are an open class, each too rare to be learned.
* Identifiers, calls, paths and expressions are ``<code>``: kept apart, they would be most of the
  vocabulary and none of the English. Inline code that is one plain word stays that word.
* ``. , ; : ? ! ( ) --`` and ``...`` are tokens. Quotation marks are dropped: in these texts they
  mark code (the "with" statement) far more often than speech.
* What does not read as a sentence (a fragment, a table row, commented-out code) is left out:
  losing a sentence costs little, keeping a broken one teaches it.

This file is long for its two halves, from text to sentences and from sentences to ids, share
the token conventions above.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import hashlib
import json
import operator
import os
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import BuiltinFunctionType
from typing import NamedTuple

from symbucket.errors import DataError, InvalidArgumentError

__all__ = ["Vocabulary", "python_sentences", "read_sentences", "split"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --- Paragraphs: what of a docstring is prose ----------------------------------------------------

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


def _paragraphs(text: str) -> Iterator[str]:
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


# --- Tokens: from a paragraph to sentences -------------------------------------------------------

_CODE = "\x01"  # stands for a piece of code while a paragraph is cleaned
_ASCII = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "--", "—": " -- ", "…": "..."}  # noqa: RUF001
)
_PLAIN = r"[A-Za-z]+(?:[-'][A-Za-z]+)*"
_PLAIN_WORD = re.compile(_PLAIN + r"$")
_PLAIN_WORDS = re.compile(rf"{_PLAIN}(?: {_PLAIN})*[.,!?]?$")
_ROLE = re.compile(r":[a-z][\w:+-]*:(?=`)")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`<>]+>`_{0,2}")
_LITERAL = re.compile(r"``(.+?)``|`([^`']+)[`']_{0,2}")
_QUOTED = re.compile(r'(?<![\w"])"([^"]{1,80})"(?!\w)|(?<![\w\'])\'([^\']{1,40})\'(?!\w)')
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})([^\s*](?:[^*]*[^\s*])?)\1(?![\w*])")
_PLURAL = re.compile(r"(?<=[a-z])\((e?s)\)")
_FOOTNOTE = re.compile(r"\s*\[(?:\d+|#\w*|\*)\]_?")
_CALL = re.compile(r"[\w.\x01]*[\w\x01]\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\]")
_EXPRESSION = re.compile(
    r"\S+(?: (?:[=<>!]=|[+*/%|&^=<>]|[-+*/]=|->|//|\*\*|<<|>>) \S*[\w\x01)\]])+"
)
_DASH = re.compile(r"(?<=\w)--+(?=\w)")

_CHUNK = re.compile(r"""([("'\[]*)(.*?)([.,;:?!)"'\]]*)$""", re.DOTALL)
_TAIL = re.compile(r"\.{3}(?=\.*)|[.,;:?!)]")
_WORD = re.compile(r"[^\W\d_]+(?:['/-][^\W\d_]+)*$")
_CAMEL_CASE = re.compile(r"[a-z][A-Z]|[A-Z]{2,}(?!s$)[a-z]")  # but "URLs" is a word
_NUMBER = re.compile(r"[-+~#]?(?:0[xX][0-9a-fA-F]+|\d+(?:[.,:]\d+)*(?:st|nd|rd|th|%)?)$")
_NUMBER_WORD = re.compile(r"\d+((?:-[a-z]+)+)$")  # "2-tuple", "64-bit"
_ABBREVIATIONS = _words("e.g i.e cf vs eg ie viz resp approx mr dr st fig etc")
_LABELS = frozenset({"<code>", "<num>", "xxx", "todo", "fixme"})
_ENDS = frozenset({".", "?", "!", ")", ":", "...", "etc."})
_LONGEST = 60  # tokens; what is longer is mostly a list that lost its line ends
# Words that English prose cannot avoid for long; lists of names and code do without them.
_FUNCTION_WORDS = _words(
    "a an the this that these those it its they them their there he we our you your i is are was "
    "were be been has have had do does did can could may might must should will would not no if of "
    "in on at to for from by with as than then when where while which who what and or but so all "
    "because only any each every some one other same such how why after before"
)


class _Chunk(NamedTuple):
    """The tokens of a run of non-blank characters, and how it stands in its sentence."""

    tokens: tuple[str, ...]
    opens: bool  # may begin a sentence
    closes: bool  # may end one


def _clean(paragraph: str) -> str:
    """Take inline markup off; pieces of code become ``_CODE``."""

    def inline(match: re.Match[str]) -> str:
        content = (match[1] or match[2]).strip().rpartition("~")[2]
        return content if _PLAIN_WORD.match(content) else _CODE

    def quoted(match: re.Match[str]) -> str:
        content = match[1] or match[2]
        return content if _PLAIN_WORDS.match(content) else _CODE

    text = paragraph.translate(_ASCII)
    if "`" in text:
        text = _LITERAL.sub(inline, _LINK.sub(r"\1", _ROLE.sub("", text)))
    if '"' in text or "'" in text:
        text = _QUOTED.sub(quoted, text)
    if "*" in text:
        text = _EMPHASIS.sub(r"\2", text)
    if "(" in text or "[" in text:
        text = _CALL.sub(_CODE, _FOOTNOTE.sub("", _PLURAL.sub(r"\1", text)))
    return _DASH.sub(" -- ", _EXPRESSION.sub(_CODE, text))


def _core_tokens(core: str) -> tuple[str, ...]:
    if core in {"-", "--", "---"}:
        return ("--",)
    if core.endswith("'s") and len(core) > 2:
        return (*_core_tokens(core[:-2]), "'s")
    if _WORD.match(core) and not _CAMEL_CASE.search(core):
        return (core.lower(),)
    if _NUMBER.match(core):
        return ("<num>",)
    if match := _NUMBER_WORD.match(core):
        return ("<num>" + match[1],)
    return ("<code>",)


def _chunk(text: str) -> _Chunk:
    match = _CHUNK.match(text)
    assert match is not None  # every part of the pattern may be empty
    head, core, tail = match.groups()
    before = ["("] * head.count("(")
    if core.lower() in _ABBREVIATIONS and tail.startswith("."):
        word = core.lower() + "."
        return _Chunk((*before, word, *_TAIL.findall(tail[1:])), False, word == "etc.")
    body = _core_tokens(core) if core else ()
    after = _TAIL.findall(tail)
    initial = len(core) == 1 and core.isupper() and core != "I"  # "J. S. Bach"
    return _Chunk(
        tokens=(*before, *body, *after),
        opens=core[:1].isupper() or core[:1].isdigit() or body[:1] == ("<code>",),
        closes=not initial and any(t[0] in ".?!" for t in after),
    )


def _sentences(paragraph: str, cache: dict[str, _Chunk]) -> Iterator[list[str]]:
    """Split a paragraph into sentences; yield those that read as prose.

    ``cache`` keeps the chunks seen so far: most come again and again.
    """
    tokens: list[str] = []
    opened = closed = False  # the sentence began with a capital; its last chunk may end it
    for text in _clean(paragraph).split():
        chunk = cache.get(text)
        if chunk is None:
            chunk = cache[text] = _chunk(text)
        if closed and (chunk.opens or tokens[-1] == "."):
            if opened and (sentence := _prose(tokens)):
                yield sentence
            tokens = []
        elif tokens == ["<code>"] and chunk.opens and chunk.tokens[0] != "<code>":
            tokens = []  # "name The text that explains the name."
        if not tokens:
            opened = chunk.opens
        # A run of code is one piece of code.
        repeats = tokens[-1:] == ["<code>"] and chunk.tokens[:1] == ("<code>",)
        tokens.extend(chunk.tokens[1:] if repeats else chunk.tokens)
        closed = chunk.closes
    if tokens and opened and (sentence := _prose(tokens)):
        yield sentence


def _prose(tokens: list[str]) -> list[str] | None:
    """Return the sentence in its final form, or None where it does not read as English prose."""
    if tokens[0] in _LABELS:  # "name: Text.", "name -- text.", "XXX Text."
        if tokens[1:2] in ([":"], ["--"]):
            tokens = tokens[2:]
        elif tokens[0].isalpha():
            tokens = tokens[1:]
    if tokens[:1] == ["("] and ")" not in tokens:
        tokens = tokens[1:]
    if tokens[-1:] == [")"] and "(" not in tokens:
        tokens = tokens[:-1]
    words = [t for t in tokens if t[0].isalpha()]
    marks = tokens.count("<code>") + tokens.count("<num>")
    letters = sum(len(w) == 1 and w not in "ai" for w in words)  # "x y z" of a formula
    reads = (
        len(words) >= 3
        and len(tokens) <= _LONGEST
        and tokens[-1] in _ENDS
        and 3 * marks <= len(words)
        and 4 * letters <= len(words)
        and tokens.count("(") == tokens.count(")")
        and not _FUNCTION_WORDS.isdisjoint(words)
    )
    return tokens if reads else None


# --- Where the sentences come from ---------------------------------------------------------------

# Tests and demonstrations hold little prose, and not every distribution has them; what is
# installed beside the library differs between machines.
_SKIPPED_FOLDERS = _words(
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
    cache: dict[str, _Chunk] = {}
    found: dict[tuple[str, ...], None] = {}
    for text in _documentation(library):
        for paragraph in _paragraphs(text):
            for sentence in _sentences(paragraph, cache):
                found.setdefault(tuple(sentence))
    if len(found) < 2000:  # the built-ins alone give some hundreds
        raise DataError(
            f"found only {len(found)} sentences of Python's documentation: {library} has no .py "
            "files with docstrings and pydoc_data is missing or empty, as in an installation of "
            "bytecode alone. Train on a text file instead: read_sentences(path), one sentence a "
            "line"
        )
    return [list(sentence) for sentence in found]


def read_sentences(path: str | os.PathLike[str]) -> list[list[str]]:
    """Return the sentences of a UTF-8 text file: one a line, tokens parted by blanks.

    Lines without tokens are skipped; nothing else is changed, so the marks of a prepared text
    (``<unk>`` and ``N`` of the Penn Treebank files) stay as they are.

    Raises:
        DataError: the file cannot be read, is not UTF-8 (with line and byte offset), or holds
            no tokens.
    """
    sentences: list[list[str]] = []
    offset = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    tokens = line.decode("utf-8-sig" if number == 1 else "utf-8").split()
                except UnicodeDecodeError as error:
                    at = error.start + len(line) - len(error.object)  # a byte order mark
                    raise DataError(
                        f"{os.fspath(path)}, line {number}: byte 0x{line[at]:02x} at "
                        f"offset {offset + at} is not UTF-8 ({error.reason}). "
                        "Convert the file to UTF-8"
                    ) from error
                if tokens:
                    sentences.append(tokens)
                offset += len(line)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"cannot read sentences from {os.fspath(path)}: {reason}. "
            "Expected a text file with one sentence a line"
        ) from error
    if not sentences:
        raise DataError(
            f"{os.fspath(path)} holds no tokens ({offset} bytes, blanks at most). "
            "Expected one sentence a line, tokens parted by blanks"
        )
    return sentences


def split(
    sentences: Sequence[Sequence[str]], validation: float = 0.05, seed: int = 0
) -> tuple[list[list[str]], list[list[str]]]:
    """Part sentences into a training set and a validation set, both in the given order.

    Each different sentence is ranked by a hash of ``seed`` and its tokens; the lowest go to
    validation. So equal sentences land on the same side, the order of the input does not
    matter, and a corpus that grows a little keeps almost all of its split.

    Args:
        sentences: lists of tokens.
        validation: share of the different sentences to hold out, 0 <= validation < 1. Any
            share above 0 holds out at least one sentence and leaves at least one.
        seed: another seed gives another split.

    Raises:
        InvalidArgumentError: ``validation`` is out of range.
        DataError: fewer than two different sentences to split.
    """
    if not 0 <= validation < 1:
        raise InvalidArgumentError(
            f"validation is {validation!r}; expected a share of the sentences, 0 <= validation < 1"
        )
    unique = {tuple(_checked(sentence, i)) for i, sentence in enumerate(sentences)}
    if validation > 0 and len(unique) < 2:
        raise DataError(
            f"cannot hold out a validation set: {len(sentences)} sentences, {len(unique)} of them "
            "different, expected at least 2. Give more text or validation=0"
        )

    def rank(sentence: tuple[str, ...]) -> bytes:
        text = "\n".join((str(seed), *sentence))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    wanted = round(len(unique) * validation)
    count = min(max(wanted, 1), len(unique) - 1) if validation > 0 else 0
    held_out = set(sorted(unique, key=rank)[:count])
    parts: tuple[list[list[str]], list[list[str]]] = ([], [])
    for sentence in sentences:
        parts[tuple(sentence) in held_out].append(list(sentence))
    return parts


def _checked(sentence: Sequence[str], index: int) -> Sequence[str]:
    """Refuse a plain string, which would pass as a list of letters."""
    if isinstance(sentence, str):
        raise DataError(
            f"sentence {index} is the string {sentence[:40]!r}; expected a list of tokens. "
            "Use text.split(), or read_sentences for a file"
        )
    return sentence


# --- Vocabulary ----------------------------------------------------------------------------------

_RESERVED = ("<pad>", "<unk>", "<eos>")
_FORMAT = "symbucket-vocabulary-1"
_NO_BLANK_BEFORE = _words(". , ; : ? ! ) % ... 's n't 'll 're 've 'd 'm ''")
_NO_BLANK_AFTER = _words("( $ ``")


class Vocabulary:
    """The tokens of a text and their ids.

    Id 0 is ``<pad>``: it fills a batch up and serves as its invalid label, no sentence holds it.
    1 is ``<unk>``, any token left out; 2 is ``<eos>``, the end of a sentence; then come the
    tokens by falling frequency, equally frequent ones in alphabetical order.

    Args:
        sentences: lists of tokens. Reserved names among the tokens get their reserved id, but
            a ``<pad>`` in a text counts as ``<unk>``.
        min_count: tokens seen less often become ``<unk>``.
        max_size: upper bound of ``len(vocabulary)``, reserved ids included.

    Attributes:
        tokens: the token of each id.
        counts: how often each id occurs in ``sentences``, encoded.

    Raises:
        InvalidArgumentError: ``min_count`` below 1, or a ``max_size`` without room for a token.
        DataError: a sentence is a plain string, or no token is frequent enough.
    """

    pad_id = 0
    unk_id = 1
    eos_id = 2

    tokens: tuple[str, ...]
    counts: tuple[int, ...]

    def __init__(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
    ) -> None:
        if min_count < 1:
            raise InvalidArgumentError(f"min_count is {min_count!r}; expected at least 1")
        if max_size is not None and max_size <= len(_RESERVED):
            raise InvalidArgumentError(
                f"max_size is {max_size!r}; expected at least {len(_RESERVED) + 1}, for "
                f"{len(_RESERVED)} ids are reserved ({', '.join(_RESERVED)})"
            )
        seen: Counter[str] = Counter()
        ends = 0
        for index, sentence in enumerate(sentences):
            seen.update(_checked(sentence, index))
            ends += 1
        ends += seen.pop("<eos>", 0)
        total = seen.total()  # "<pad>" and "<unk>" in the text included: they encode as unknown
        del seen["<pad>"], seen["<unk>"]
        kept = sorted((-n, token) for token, n in seen.items() if n >= min_count)
        if max_size is not None:
            kept = kept[: max_size - len(_RESERVED)]
        if not kept:
            raise DataError(
                f"no token for a vocabulary: {ends} sentences, {len(seen)} different tokens, none "
                f"of them seen min_count={min_count} times. Give more text or a lower min_count"
            )
        unknown = total + sum(n for n, _ in kept)
        self._set(
            (*_RESERVED, *(token for _, token in kept)),
            (0, unknown, ends, *(-n for n, _ in kept)),
        )

    def _set(self, tokens: tuple[str, ...], counts: tuple[int, ...]) -> None:
        self.tokens = tokens
        self.counts = counts
        self._ids = {token: i for i, token in enumerate(tokens)}
        self._ids["<pad>"] = self.unk_id

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids and token != "<pad>"

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids, {sum(self.counts)} tokens counted)"

    def encode(self, sentences: Iterable[Sequence[str]]) -> list[list[int]]:
        """Return the ids of each sentence, ``<eos>`` appended.

        Raises:
            DataError: a sentence is a plain string.
        """
        get, unk = self._ids.get, self.unk_id
        return [
            [*(get(token, unk) for token in _checked(sentence, index)), self.eos_id]
            for index, sentence in enumerate(sentences)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Return ids as readable text: no blank before punctuation, padding left out.

        ``<eos>`` begins a new line; at the end of the text it adds nothing.

        Raises:
            DataError: an id is not an integer from 0 to ``len(vocabulary) - 1``.
        """
        text = ""
        glued = True  # the next token follows without a blank
        for position, number in enumerate(ids):
            try:
                index = operator.index(number)
            except TypeError:
                index = -1
            if not 0 <= index < len(self.tokens):
                raise DataError(
                    f"id {number!r} at position {position} is not in this vocabulary; "
                    f"expected an integer from 0 to {len(self.tokens) - 1}"
                )
            if index == self.pad_id:
                continue
            if index == self.eos_id:
                text, glued = text + "\n", True
                continue
            token = self.tokens[index]
            text += token if glued or token in _NO_BLANK_BEFORE else " " + token
            glued = token in _NO_BLANK_AFTER
        return text.rstrip("\n")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as a JSON file; a file of that name is replaced in one step.

        Raises:
            DataError: the file cannot be written.
        """
        path = Path(path)
        content = {"format": _FORMAT, "tokens": self.tokens, "counts": self.counts}
        text = json.dumps(content, ensure_ascii=False)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise DataError(f"cannot write the vocabulary to {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Read a vocabulary that ``save`` wrote.

        Raises:
            DataError: the file is missing, is not JSON, or is not a sound vocabulary.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot read a vocabulary from {path}: {error.strerror}") from error
        except ValueError as error:
            raise DataError(f"{path} is not a vocabulary, not even JSON: {error}") from error
        found = content.get("format") if isinstance(content, dict) else None
        if found != _FORMAT:
            raise DataError(f"{path} is not a vocabulary: format {found!r}, expected {_FORMAT!r}")
        tokens, counts = content.get("tokens"), content.get("counts")
        sound = (
            isinstance(tokens, list)
            and isinstance(counts, list)
            and len(tokens) == len(counts)
            and all(isinstance(token, str) for token in tokens)
            and all(type(count) is int and count >= 0 for count in counts)
            and len(set(tokens)) == len(tokens)
            and tuple(tokens[: len(_RESERVED)]) == _RESERVED
        )
        if not sound:
            raise DataError(
                f"{path} is damaged: expected different tokens that begin with "
                f"{', '.join(_RESERVED)}, and one count, at least 0, for each"
            )
        vocabulary = cls.__new__(cls)
        vocabulary._set(tuple(tokens), tuple(counts))
        return vocabulary
