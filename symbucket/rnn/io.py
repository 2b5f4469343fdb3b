"""Iterators over sentences, under the name ``mx.rnn.io``."""

from symbucket.io import BucketSentenceIter, encode_sentences

__all__ = ["BucketSentenceIter", "encode_sentences"]
