"""From a paragraph to sentences of tokens, by the conventions of the package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


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
_ABBREVIATIONS = word_set("e.g i.e cf vs eg ie viz resp approx mr dr st fig etc")
_LABELS = frozenset({"<code>", "<num>", "xxx", "todo", "fixme"})
_ENDS = frozenset({".", "?", "!", ")", ":", "...", "etc."})
_MAX_TOKENS = 60  # tokens; what is longer is mostly a list that lost its line ends
# Words that English prose cannot avoid for long; lists of names and code do without them.
_FUNCTION_WORDS = word_set(
    "a an the this that these those it its they them their there he we our you your i is are was "
    "were be been has have had do does did can could may might must should will would not no if of "
    "in on at to for from by with as than then when where while which who what and or but so all "
    "because only any each every some one other same such how why after before"
)


class Chunk(NamedTuple):
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


def _parse_chunk(text: str) -> Chunk:
    match = _CHUNK.match(text)
    assert match is not None  # every part of the pattern may be empty
    head, core, tail = match.groups()
    opening = ["("] * head.count("(")
    if core.lower() in _ABBREVIATIONS and tail.startswith("."):
        word = core.lower() + "."
        return Chunk((*opening, word, *_TAIL.findall(tail[1:])), False, word == "etc.")
    body = _core_tokens(core) if core else ()
    closing = _TAIL.findall(tail)
    initial = len(core) == 1 and core.isupper() and core != "I"  # "J. S. Bach"
    return Chunk(
        tokens=(*opening, *body, *closing),
        opens=core[:1].isupper() or core[:1].isdigit() or body[:1] == ("<code>",),
        closes=not initial and any(t[0] in ".?!" for t in closing),
    )


def split_sentences(paragraph: str, cache: dict[str, Chunk]) -> Iterator[list[str]]:
    """Split a paragraph into sentences; yield those that read as prose.

    ``cache`` keeps the chunks seen so far: most come again and again.
    """
    tokens: list[str] = []
    opened = closed = False  # the sentence began with a capital; its last chunk may end it
    for text in _clean(paragraph).split():
        chunk = cache.get(text)
        if chunk is None:
            chunk = cache[text] = _parse_chunk(text)
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
    """Return the sentence in its final form, or None if it does not read as English prose."""
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
        and len(tokens) <= _MAX_TOKENS
        and tokens[-1] in _ENDS
        and 3 * marks <= len(words)
        and 4 * letters <= len(words)
        and tokens.count("(") == tokens.count(")")
        and not _FUNCTION_WORDS.isdisjoint(words)
    )
    return tokens if reads else None
