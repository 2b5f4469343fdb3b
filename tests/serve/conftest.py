"""The bundles that the tests of exports use too."""

from tests.export.conftest import folder, original

__all__ = ["folder", "original"]
