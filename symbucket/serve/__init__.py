"""Serving exported networks: requests of any length in, answers out."""

from symbucket.serve.batcher import Batcher
from symbucket.serve.bundle import Bundle
from symbucket.serve.generate import Hypothesis, beam_search, generate
from symbucket.serve.histogram import Histogram
from symbucket.serve.route import Request
from symbucket.serve.session import Session
from symbucket.serve.statistics import KeyStatistics, format_statistics

__all__ = [
    "Batcher",
    "Bundle",
    "Histogram",
    "Hypothesis",
    "KeyStatistics",
    "Request",
    "Session",
    "beam_search",
    "format_statistics",
    "generate",
]
