"""Words and sentences of documentation: what is read and what is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbucket.apps.corpus.paragraphs import paragraphs
from symbucket.apps.corpus.tokens import split_sentences


def sentences_of(text: str) -> list[str]:
    return [
        " ".join(sentence)
        for paragraph in paragraphs(text)
        for sentence in split_sentences(paragraph, {})
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Return the list's items.", ["return the list 's items ."]),
        ("It isn't a read-only and/or lazy view!", ["it isn't a read-only and/or lazy view !"]),
        ("Is it here? It is (or was).", ["is it here ?", "it is ( or was ) ."]),
        ("(This is an aside.) It is short.", ["( this is an aside . )", "it is short ."]),
        ("The end --- at last--is here.", ["the end -- at last -- is here ."]),
        ("The list of “typographic” ‘signs’…", ["the list of typographic signs ..."]),  # noqa: RUF001
        ("It spans\nthree of\nthe lines.", ["it spans three of the lines ."]),
    ],
)
def test_words_and_punctuation(text: str, expected: list[str]) -> None:
    assert sentences_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It has 3.5 or 0xFF bytes in all of it.", ["it has <num> or <num> bytes in all of it ."]),
        ("It is on the 2nd page.", ["it is on the <num> page ."]),
        ("Return the pair as a 2-tuple.", ["return the pair as a <num>-tuple ."]),
        ("Call os.path.join(a, b(c)) for the path.", ["call <code> for the path ."]),
        ("The read_all method of a StringIO is here.", ["the <code> method of a <code> is here ."]),
        ("All URLs of the HTTP server are here.", ["all urls of the http server are here ."]),
        (
            "Look at /usr/lib or use the --help option.",
            ["look at <code> or use the <code> option ."],
        ),
        ("This is true if x == y + 1 or not.", ["this is true if <code> or not ."]),
        ("Use the foo_bar baz_qux names for it.", ["use the <code> names for it ."]),
        ("Remove the file(s) that are old.", ["remove the files that are old ."]),
    ],
)
def test_numbers_and_code(text: str, expected: list[str]) -> None:
    assert sentences_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See :py:meth:`~list.append` for the rest.", ["see <code> for the rest ."]),
        ("Give `None` or ``self`` to the call.", ["give none or self to the call ."]),
        ("Read the `style guide <https://x.org>`_ first.", ["read the style guide first ."]),
        ("This is *very* and **truly** the same.", ["this is very and truly the same ."]),
        ('The "with" statement is "x = y" here.', ["the with statement is <code> here ."]),
        ("It is a tool. [1]_ It is sharp.", ["it is a tool .", "it is sharp ."]),
    ],
)
def test_inline_markup(text: str, expected: list[str]) -> None:
    assert sentences_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Run it, e.g. the first.", ["run it , e.g. the first ."]),
        ("It is i.e. That.", ["it is i.e. that ."]),
        ("It has a head, etc. The rest is air.", ["it has a head , etc.", "the rest is air ."]),
        ("It has heads, tails, etc. and a body.", ["it has heads , tails , etc. and a body ."]),
        ("It was written by J. Hacker.", ["it was written by j . hacker ."]),
        ("This is one. the next is a fragment.", ["this is one ."]),
        ("This is one. `os.path` is next to it.", ["this is one .", "<code> is next to it ."]),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert sentences_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Title of It\n===============\n\nThis is the text.", ["this is the text ."]),
        ("- The first of all\n  is here.\n- The second.", ["the first of all is here ."]),
        ("1. The first of all.\n2) The next of all.", ["the first of all .", "the next of all ."]),
        (":param x: The value of it.", ["the value of it ."]),
        (".. note:: This is the note.", ["this is the note ."]),
        (".. code:: c\n\n   This is code.\n\nThis is the text.", ["this is the text ."]),
        ("Do it so that::\n\n   This is code.\n\nIt is.", ["do it so that :"]),
        (">>> f()\nThis is the output.\n\nThis is the text.", ["this is the text ."]),
        ("x = The value of it.\n\nThis is the text.", ["this is the text ."]),
        ("| This is | a row. |\n\nThis is the text.", ["this is the text ."]),
        ("-x     This is an option.\n\nThis is the text.", ["this is the text ."]),
        ("foo_bar\n    The thing of the name.", ["the thing of the name ."]),
        ("foo_bar: The thing of the name.", ["the thing of the name ."]),
        ("This is the start that\n    goes on.", ["this is the start that goes on ."]),
    ],
)
def test_blocks(text: str, expected: list[str]) -> None:
    assert sentences_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "No period at the end of the line",
        "lower case at the start is a fragment.",
        "Too short.",
        "Spam, eggs, bacon, ham.",  # a list of names
        "A_b and c_d or e_f in g_h.",  # more code than words
        "The sum of a b c d e f.",  # a formula
        "The one (is not closed.",
        "The " + "very " * 100 + "long one.",
        "def f(x): # The body of it.",
    ],
)
def test_what_is_not_prose_is_left_out(text: str) -> None:
    assert sentences_of(text) == []


@given(st.text(alphabet=st.sampled_from("Aa.b_ \n`'\"*()[]:-=<>#|\\1,?é\t\x01"), max_size=200))
def test_any_text_gives_sound_tokens(text: str) -> None:
    for paragraph in paragraphs(text):
        for sentence in split_sentences(paragraph, {}):
            assert all(token and token == token.strip() for token in sentence)
            assert not any(c in token for token in sentence for c in '\x01 \n"`')
            assert sentence.count("(") == sentence.count(")")
