"""What pages are made from: files beside this one, with places for what a page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Return a template with ``parts`` at their places, which are written as ``@NAME@``."""
    pieces = asset(template).split("@")
    return "".join(parts.get(p, p) if i % 2 else p for i, p in enumerate(pieces))


@cache
def asset(name: str) -> str:
    """Return the text of a file of the folder ``assets``."""
    return files("symbucket.visualization").joinpath("assets").joinpath(name).read_text("utf-8")


def script_json(data: Any) -> str:
    """Return JSON that cannot end the script element around it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
