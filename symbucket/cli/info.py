"""``symbucket info``: what is installed and what it can do."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib import metadata
from typing import Any

from symbucket.runtime import backend
from symbucket.runtime.providers import PROVIDERS, Provider

HELP = "versions, providers, devices, extras"
DESCRIPTION = (
    "Say which versions are installed, where networks can run, and which extras are there."
)
EXAMPLE = """\
example:
  symbucket info --json
"""

_PACKAGES = ("numpy", "onnx", "onnx-ir", "safetensors")
_RUNTIMES = ("onnxruntime-training-cpu", "onnxruntime-training", "onnxruntime", "onnxruntime-gpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    found = collect()
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    for title, entries in found.items():
        print(f"{title}:")
        width = max(map(len, entries))
        for name, value in entries.items():
            print(f"  {name.ljust(width)}  {value}")
    return 0


def collect() -> dict[str, dict[str, Any]]:
    """Everything that ``info`` prints, by section."""
    from symbucket import __version__

    ort = backend.ort
    providers = ort.get_available_providers()
    builds = [f"{n} {v}" for n in _RUNTIMES if (v := _version(n)) is not None]
    return {
        "versions": {
            "symbucket": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            **{n: _version(n) or "missing" for n in _PACKAGES},
        },
        "runtime": {
            "onnxruntime": ort.__version__,
            "package": ", ".join(builds) or "unknown",
            "training kernels": "yes" if backend.is_training_build() else "no",
            "providers": ", ".join(providers),
        },
        "devices": {
            "cpu": f"{os.cpu_count()} cores",
            **{p.device_type: _device(p) for p in PROVIDERS if not p.host_memory},
        },
        "extras": {extra: _extra(extra, names) for extra, names in _extras().items()},
    }


def _device(provider: Provider) -> str:
    """Return whether the installed runtime has a provider, or which extra brings it."""
    brand = provider.name.removesuffix("ExecutionProvider")
    if backend.is_available(provider.name):
        return f"{brand} provider is there"
    return f"no {brand} provider: symbucket[{provider.extra}]"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, list[str]]:
    """Packages of each extra, from the installed metadata."""
    try:
        package = metadata.metadata("symbucket")
        listed = metadata.requires("symbucket") or []
    except metadata.PackageNotFoundError:
        return {"unknown": []}
    found: dict[str, list[str]] = {e: [] for e in package.get_all("Provides-Extra") or []}
    for text in listed:
        name, _, marker = text.partition(";")
        for extra, names in found.items():
            if f'extra == "{extra}"' in marker.replace("'", '"'):
                plain = "".join(c if c.isalnum() or c in "-_." else " " for c in name).split()
                names += plain[:1]
    return found


def _extra(extra: str, names: list[str]) -> str:
    missing = [n for n in names if _version(n) is None]
    if not missing:
        return "installed"
    return f'missing {", ".join(missing)} (pip install "symbucket[{extra}]")'
