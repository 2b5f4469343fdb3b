"""``symbucket info``: show what is installed and what it can do."""

from __future__ import annotations

import argparse
import json
import operator
import os
import platform
import re
import sys
from importlib import metadata
from typing import Any

from symbucket.errors import RuntimeMissingError
from symbucket.runtime import backend
from symbucket.runtime.providers import PROVIDERS, Provider
from symbucket.tables import format_table
from symbucket.version import __version__

HELP = "versions, providers, devices, extras"
DESCRIPTION = (
    "Show which versions are installed, where networks can run, and which extras are there."
)
EXAMPLE = """\
example:
  symbucket info --json
"""

_PACKAGES = ("msgspec", "networkx", "numpy", "onnx", "onnx-ir", "safetensors")
_CONDITION = re.compile(r"(python_version|sys_platform)\s*(<|>=|==)\s*['\"]([\w.]+)['\"]")
_COMPARISONS = {"<": operator.lt, ">=": operator.ge, "==": operator.eq}
_RUNTIMES = ("onnxruntime-training-cpu", "onnxruntime-training", "onnxruntime", "onnxruntime-gpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is installed."""
    sections = collect()
    if args.json:
        print(json.dumps(sections, indent=1))
        return 0
    for title, entries in sections.items():
        print(f"{title}:")
        print(format_table(list(entries.items()), left=[0, 1], indent="  "))
    return 0


def collect() -> dict[str, dict[str, Any]]:
    """Return everything that ``info`` prints, by section."""
    runtime, providers = _runtime()
    return {
        "versions": {
            "symbucket": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            **{n: _version(n) or "missing" for n in _PACKAGES},
        },
        "runtime": runtime,
        "devices": {
            "cpu": f"{os.cpu_count()} cores",
            **{p.device_type: _device(p, providers) for p in PROVIDERS if not p.host_memory},
        },
        "extras": {extra: _extra(extra, names) for extra, names in _extras().items()},
    }


def _runtime() -> tuple[dict[str, str], list[str]]:
    """Return what is known of the runtime, and its execution providers."""
    packages = ", ".join(f"{n} {v}" for n in _RUNTIMES if (v := _version(n)) is not None)
    facts = {"onnxruntime": "missing", "package": packages or "unknown"}
    try:
        runtime = backend.load_runtime()
    except RuntimeMissingError as error:
        return {**facts, "problem": str(error)}, []
    providers = runtime.get_available_providers()
    facts |= {
        "onnxruntime": runtime.__version__,
        "training kernels": "yes" if backend.is_training_build() else "no",
        "providers": ", ".join(providers),
    }
    return facts, providers


def _device(provider: Provider, available: list[str]) -> str:
    """Return whether the installed runtime has a provider, or which extra brings it."""
    brand = provider.name.removesuffix("ExecutionProvider")
    if provider.name in available:
        return f"{brand} provider is there"
    return f"no {brand} provider: symbucket[{provider.extra}]"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, list[str]]:
    """Return the packages of each extra, from the installed metadata."""
    try:
        package = metadata.metadata("symbucket")
        listed = metadata.requires("symbucket") or []
    except metadata.PackageNotFoundError:
        return {"unknown": []}
    packages: dict[str, list[str]] = {e: [] for e in package.get_all("Provides-Extra") or []}
    for text in listed:
        name, _, marker = text.partition(";")
        for extra, names in packages.items():
            if f'extra == "{extra}"' in marker.replace("'", '"') and _applies(marker):
                plain = "".join(c if c.isalnum() or c in "-_." else " " for c in name).split()
                names += plain[:1]
    return packages


def _applies(marker: str) -> bool:
    """Return whether this Python and platform are those of a marker of our own metadata."""
    for name, comparison, value in _CONDITION.findall(marker):
        here: Any = sys.platform if name == "sys_platform" else sys.version_info[:2]
        there: Any = value if name == "sys_platform" else tuple(map(int, value.split(".")))
        if not _COMPARISONS[comparison](here, there):
            return False
    return True


def _extra(extra: str, names: list[str]) -> str:
    missing = [n for n in names if _version(n) is None]
    if not missing:
        return "installed"
    if set(missing) <= set(_RUNTIMES) and any(map(_version, _RUNTIMES)):
        return "not installed (only one runtime can be)"
    return f'missing {", ".join(missing)} (pip install "symbucket[{extra}]")'
