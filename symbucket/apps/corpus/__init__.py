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
"""

from symbucket.apps.corpus.python_docs import python_sentences
from symbucket.apps.corpus.text_files import read_sentences, split
from symbucket.apps.corpus.vocabulary import Vocabulary

__all__ = ["Vocabulary", "python_sentences", "read_sentences", "split"]
