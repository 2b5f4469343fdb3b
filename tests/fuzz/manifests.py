"""Manifests of bundles that lie: refused, or the bundle still makes sense."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np

import symbucket as sb
from symbucket.export.verify import open_bundle
from tests.export import bundles
from tests.fuzz.damage import damaged
from tests.fuzz.folders import folder_of
from tests.fuzz.reading import Case, main, replaced


@cache
def _bundle() -> tuple[Path, str]:
    """Return a bundle's folder, and its manifest as it was written."""
    folder = folder_of("manifests") / "bundle"
    with sb.NameManager():
        bundles.trained().export(folder)
    return folder, (folder / "manifest.json").read_text()


def case(seed: int) -> Case:
    """Return the opening of a bundle whose manifest is damaged, or says other things."""
    rng = np.random.default_rng(seed)
    folder, text = _bundle()
    if seed % 4 == 0:
        content = damaged(text.encode(), rng)
    else:
        tree = json.loads(text)
        for _ in range(rng.integers(1, 4)):
            tree = replaced(tree, rng)
        content = json.dumps(tree).encode()

    def use() -> None:
        (folder / "manifest.json").write_bytes(content)
        open_bundle(folder)

    return use


if __name__ == "__main__":
    sys.exit(main(case, __doc__))
