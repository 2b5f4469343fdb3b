"""Padding checked instead of hoped for."""

from symbucket.padding.check import PaddingReport, check_padding
from symbucket.padding.compare import Difference

__all__ = ["Difference", "PaddingReport", "check_padding"]
