from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from symbucket.apps.corpus import Vocabulary, python_sentences, read_sentences, split
from symbucket.errors import DataError, InvalidArgumentError

# --- python_sentences ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documentation() -> list[list[str]]:
    return python_sentences()


def test_documentation_is_large_and_different(documentation: list[list[str]]) -> None:
    assert len(documentation) > 10_000
    assert len({tuple(s) for s in documentation}) == len(documentation)
    assert max(map(len, documentation)) <= 60
    assert min(map(len, documentation)) >= 3


def test_documentation_is_english(documentation: list[list[str]]) -> None:
    counts = Counter(token for sentence in documentation for token in sentence)
    total = counts.total()
    assert [token for token, _ in counts.most_common(2)] == ["the", "."]
    assert counts["<code>"] + counts["<num>"] < 0.06 * total
    frequent = sum(n for n in counts.values() if n >= 3)
    assert frequent > 0.97 * total  # a small vocabulary covers it
    assert not [t for t in counts if "_" in t or (t[0] == "<" and t[:5] not in ("<code", "<num>"))]


def test_documentation_repeats_exactly(documentation: list[list[str]]) -> None:
    assert python_sentences() == documentation


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the standard library."""
    folder = tmp_path / "library"
    folder.mkdir()
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(folder)})
    return folder


def test_sources_are_read_and_never_run(library: Path) -> None:
    (library / "boom.py").write_text(
        '"""The module of the purple test."""\nraise SystemExit\n'
        "# The comment of the purple test\n# has two lines.\n"
        'if x:\n    class A:\n        """The class of the purple test."""\n'
        '        async def f(self):\n            r"""The method \\d of the purple test."""\n'
        'try:\n    pass\nexcept E:\n    def g():\n        "The function of the purple test."\n'
        's = "A string of the purple test is no documentation."\n'
    )
    (library / "broken.py").write_text('"""The broken purple test."""\nthis is no python\n')
    (library / "escape.py").write_text('"""The escape \\d of a purple test."""\n')
    (library / "nul.py").write_bytes(b'"""The nul purple test."""\n\0')
    (library / "link.py").symlink_to(library / "nothing")
    for name in ("test", "site-packages", "idlelib", "config-3.11"):
        (library / name).mkdir()
        (library / name / "a.py").write_text('"""The skipped purple test is here."""\n')
    (library / "package").mkdir()
    (library / "package" / "a.py").write_text('"""The inner one of the purple test."""\n')
    found = [" ".join(s) for s in python_sentences() if "purple" in s]
    assert found == [
        "the module of the purple test .",
        "the class of the purple test .",
        "the method <code> of the purple test .",
        "the function of the purple test .",
        "the comment of the purple test has two lines .",
        "the escape <code> of a purple test .",
        "the inner one of the purple test .",
    ]


def test_no_documentation_is_an_error(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    monkeypatch.delattr("pydoc_data.topics", raising=False)
    with pytest.raises(DataError, match=r"found only \d+ sentences.*read_sentences"):
        python_sentences()


# --- read_sentences ------------------------------------------------------------------------------


def test_read_sentences(tmp_path: Path) -> None:
    path = tmp_path / "ptb.txt"
    path.write_bytes("\ufeff the <unk> is N \r\n\n  \t\n café 's\tend".encode())
    expected = [["the", "<unk>", "is", "N"], ["café", "'s", "end"]]
    assert read_sentences(path) == expected
    assert read_sentences(str(path)) == expected


def test_read_sentences_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read sentences from .*none\.txt: No such file"):
        read_sentences(tmp_path / "none.txt")
    with pytest.raises(DataError, match="Is a directory"):
        read_sentences(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n", b"\xef\xbb\xbf"])
def test_read_sentences_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"empty\.txt holds no tokens \({len(content)} bytes"):
        read_sentences(path)


@pytest.mark.parametrize(
    ("content", "line", "offset"),
    [(b"one\ntwo \xe9t\xe9\n", 2, 8), (b"\xef\xbb\xbfab \xff\n", 1, 6), (b"a\n\nb\xc3", 3, 4)],
)
def test_read_sentences_undecodable(tmp_path: Path, content: bytes, line: int, offset: int) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(content)
    byte = f"0x{content[offset]:02x}"
    with pytest.raises(
        DataError, match=rf"latin\.txt, line {line}: byte {byte} at offset {offset} is not UTF-8"
    ):
        read_sentences(path)


# --- split ---------------------------------------------------------------------------------------

NUMBERED = [["sentence", str(i)] for i in range(1000)]


def test_split_sizes_and_order() -> None:
    train, validation = split(NUMBERED)
    assert (len(train), len(validation)) == (950, 50)
    assert sorted(train + validation) == sorted(NUMBERED)
    assert train == [s for s in NUMBERED if s in train]
    assert validation == [s for s in NUMBERED if s in validation]


def test_split_depends_on_the_seed_alone() -> None:
    assert split(NUMBERED, seed=3) == split(NUMBERED, seed=3)
    assert split(NUMBERED, seed=3)[1] != split(NUMBERED, seed=4)[1]
    assert sorted(split(NUMBERED[::-1])[1]) == sorted(split(NUMBERED)[1])
    # Recorded: the same sentences are held out by every Python version.
    assert split(NUMBERED, 0.003)[1] == [NUMBERED[i] for i in (351, 477, 690)]


def test_split_keeps_equal_sentences_together() -> None:
    train, validation = split(NUMBERED * 3, validation=0.2)
    assert len(train) == 2400
    assert len(validation) == 600
    assert not {tuple(s) for s in train} & {tuple(s) for s in validation}


def test_split_of_few_sentences() -> None:
    assert [len(part) for part in split(NUMBERED[:2], 0.001)] == [1, 1]
    assert [len(part) for part in split(NUMBERED[:2], 0.999)] == [1, 1]
    assert split(NUMBERED[:1], 0) == (NUMBERED[:1], [])


def test_split_errors() -> None:
    for share in (-0.1, 1, 1.5, float("nan")):
        with pytest.raises(InvalidArgumentError, match="0 <= validation < 1"):
            split(NUMBERED, share)
    with pytest.raises(DataError, match="5 sentences, 1 of them different"):
        split(NUMBERED[:1] * 5)
    with pytest.raises(DataError, match="sentence 1 is the string 'a b'"):
        split([["a"], "a b"])


# --- Vocabulary ----------------------------------------------------------------------------------

TEXT = [line.split() for line in ("b a b .", "c a b .", "<unk> d <pad>", "c <eos>")]


def test_vocabulary_order_and_counts() -> None:
    vocabulary = Vocabulary(TEXT)
    assert vocabulary.tokens == ("<pad>", "<unk>", "<eos>", "b", ".", "a", "c", "d")
    assert vocabulary.counts == (0, 2, 5, 3, 2, 2, 2, 1)
    assert len(vocabulary) == 8
    assert (vocabulary.pad_id, vocabulary.unk_id, vocabulary.eos_id) == (0, 1, 2)
    assert "a" in vocabulary
    assert "z" not in vocabulary
    assert "<pad>" not in vocabulary
    assert repr(vocabulary) == "Vocabulary(8 ids, 17 tokens counted)"


@pytest.mark.parametrize("limits", [{}, {"min_count": 2}, {"max_size": 5}, {"min_count": 3}])
def test_counts_are_those_of_the_encoded_text(limits: dict[str, int]) -> None:
    vocabulary = Vocabulary(iter(TEXT), **limits)
    ids = Counter(i for sentence in vocabulary.encode(TEXT) for i in sentence)
    assert vocabulary.counts == tuple(ids[i] for i in range(len(vocabulary)))


def test_limits_of_a_vocabulary() -> None:
    assert Vocabulary(TEXT, min_count=2).tokens[3:] == ("b", ".", "a", "c")
    assert Vocabulary(TEXT, max_size=5).tokens[3:] == ("b", ".")
    assert Vocabulary(TEXT, min_count=2, max_size=100).tokens[3:] == ("b", ".", "a", "c")


def test_encode() -> None:
    vocabulary = Vocabulary(TEXT, min_count=2)
    assert vocabulary.encode([["a", "z", "d"], [], ["<pad>", "<unk>", "<eos>"]]) == [
        [5, 1, 1, 2],
        [2],
        [1, 1, 2, 2],
    ]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ("the list 's items , ( e.g. the first ) .", "the list's items, (e.g. the first)."),
        ("it is here : why ? yes ! no ...", "it is here: why? yes! no..."),
        ("a -- b ; <code> and <num> %", "a -- b; <code> and <num>%"),
        ("it did n't cost $ N", "it didn't cost $N"),
    ],
)
def test_decode_is_readable(tokens: str, expected: str) -> None:
    vocabulary = Vocabulary([tokens.split()])
    assert vocabulary.decode(vocabulary.encode([tokens.split()])[0]) == expected


def test_decode_marks() -> None:
    vocabulary = Vocabulary([["a", "."]])
    dot, a = vocabulary.encode([[".", "a"]])[0][:2]
    assert vocabulary.decode([a, dot, 2, a, 1, dot, 2, 0, 0]) == "a.\na <unk>."
    assert vocabulary.decode([]) == ""
    assert vocabulary.decode(memoryview(bytes([a, dot]))) == "a."


@pytest.mark.parametrize("bad", [-1, 5, 1.0, "a", None])
def test_decode_errors(bad: object) -> None:
    vocabulary = Vocabulary([["a", "."]])
    with pytest.raises(DataError, match=r"at position 1 .*expected an integer from 0 to 4"):
        vocabulary.decode([3, bad])


def test_real_text_round_trip(documentation: list[list[str]]) -> None:
    vocabulary = Vocabulary(documentation)
    some = documentation[::50]
    back = [[vocabulary.tokens[i] for i in ids] for ids in vocabulary.encode(some)]
    assert back == [[*sentence, "<eos>"] for sentence in some]


def test_vocabulary_errors() -> None:
    with pytest.raises(InvalidArgumentError, match="min_count is 0; expected at least 1"):
        Vocabulary(TEXT, min_count=0)
    with pytest.raises(InvalidArgumentError, match="max_size is 3; expected at least 4"):
        Vocabulary(TEXT, max_size=3)
    with pytest.raises(DataError, match=r"0 sentences, 0 different tokens"):
        Vocabulary([])
    with pytest.raises(DataError, match=r"5 different tokens, none of them seen min_count=9 times"):
        Vocabulary(TEXT, min_count=9)
    with pytest.raises(DataError, match="sentence 1 is the string 'a b'; expected a list"):
        Vocabulary([["a"], "a b"])
    with pytest.raises(DataError, match="sentence 0 is the string 'a b'; expected a list"):
        Vocabulary(TEXT).encode(["a b"])


def test_save_and_load(tmp_path: Path) -> None:
    vocabulary = Vocabulary([*TEXT, ["café", '"', "x"]])
    path = tmp_path / "vocabulary.json"
    path.write_text("older")
    vocabulary.save(path)
    assert os.listdir(tmp_path) == ["vocabulary.json"]
    loaded = Vocabulary.load(str(path))
    assert loaded.tokens == vocabulary.tokens
    assert loaded.counts == vocabulary.counts
    assert loaded.encode([["café", "<pad>", "z"]]) == vocabulary.encode([["café", "<pad>", "z"]])


def test_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    vocabulary = Vocabulary(TEXT)
    with pytest.raises(DataError, match="cannot write the vocabulary"):
        vocabulary.save(tmp_path / "none" / "v.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"cannot write the vocabulary to .*folder"):
        vocabulary.save(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


GOOD = {
    "format": "symbucket-vocabulary-1",
    "tokens": ["<pad>", "<unk>", "<eos>", "a"],
    "counts": [0, 0, 1, 2],
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not even JSON"),
        ("[]", "format None, expected 'symbucket-vocabulary-1'"),
        (json.dumps(GOOD | {"format": "x"}), "format 'x', expected"),
        (json.dumps(GOOD | {"counts": [0, 0, 1]}), "is damaged"),
        (json.dumps(GOOD | {"counts": [0, 0, 1, -1]}), "is damaged"),
        (json.dumps(GOOD | {"counts": [0, 0, 1, 1.5]}), "is damaged"),
        (json.dumps(GOOD | {"counts": 4}), "is damaged"),
        (json.dumps(GOOD | {"tokens": ["<pad>", "<unk>", "<eos>", 1]}), "is damaged"),
        (json.dumps(GOOD | {"tokens": ["<pad>", "<unk>", "<eos>", "<unk>"]}), "is damaged"),
        (json.dumps(GOOD | {"tokens": ["<unk>", "<pad>", "<eos>", "a"]}), "is damaged"),
        (json.dumps({"format": GOOD["format"]}), "is damaged"),
    ],
)
def test_load_errors(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "v.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        Vocabulary.load(path)


def test_load_missing_and_good(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read a vocabulary from .*v\.json: No such file"):
        Vocabulary.load(tmp_path / "v.json")
    (tmp_path / "v.json").write_text(json.dumps(GOOD))
    assert Vocabulary.load(tmp_path / "v.json").tokens == ("<pad>", "<unk>", "<eos>", "a")
