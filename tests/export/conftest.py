"""A bundle on disk, made once; tests that change it take a copy."""

import shutil

import pytest

from tests.export import bundles


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "original"
    bundles.trained().export(folder)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(original, tmp_path / "bundle")
