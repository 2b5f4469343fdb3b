"""Padding checked instead of hoped for."""

from symbucket.padding.check import Difference, PaddingReport, check_padding

__all__ = ["Difference", "PaddingReport", "check_padding"]
