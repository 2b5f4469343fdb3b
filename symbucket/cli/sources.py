"""The networks of a command: the built-in language model, or a ``sym_gen`` of the user's."""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, cast

from symbucket.errors import BundleError, InvalidArgumentError, SymbucketError
from symbucket.export.keys import decode_key
from symbucket.io import DataDesc
from symbucket.module.bucketing import BucketingModule

_SIZE = re.compile(r"\d+|key|key\[(\d+)\]")
_SHAPE = re.compile(r"(?P<name>[^=]+)=(?P<sizes>[^:]+)(:(?P<layout>[A-Z]*))?(:(?P<dtype>\w+))?")

METRIC = (
    'what training measures, as accuracy or \'["perplexity", {"ignore_label": 0}]\'; a step '
    "returns its sums in place of outputs if it can"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe the user's networks."""
    group = parser.add_argument_group("networks of your own")
    add = group.add_argument
    add(
        "--sym-gen",
        metavar="MODULE:FUNCTION",
        help="a function that returns the network of a bucket key; MODULE may be a .py file",
    )
    add(
        "--keys",
        nargs="+",
        type=key_of,
        metavar="KEY",
        help="bucket keys, as JSON or plain words; the last one is the default key",
    )
    add(
        "--data",
        nargs="+",
        metavar="NAME=SIZES",
        help="shape of each data input, as data=32,key or image=32,3,key[0],key[1]; a layout and "
        "a dtype may follow, as data=32,key:NT:int64",
    )
    add("--label", nargs="+", default=[], metavar="NAME=SIZES", help="the same for labels")


def key_of(text: str) -> Hashable:
    """Return the key in an argument: ``10``, ``[32, 64]`` (a tuple), ``"10"`` or a plain word."""
    try:
        return decode_key(json.loads(text))
    except (ValueError, InvalidArgumentError):
        return text


def without_sym_gen(args: argparse.Namespace) -> None:
    """End with a usage error if an argument that describes the user's networks stands alone."""
    for name in ("keys", "data", "label") if args.sym_gen is None else ():
        if getattr(args, name):
            args.parser.error(f"--{name} needs --sym-gen")


def own_networks(args: argparse.Namespace) -> tuple[Callable[[Any], Any], Shapes]:
    """Return the ``sym_gen`` and the shapes of the arguments."""
    for name in ("keys", "data"):
        if not getattr(args, name):
            args.parser.error(f"--sym-gen needs --{name}")
    shapes = Shapes(args.data, args.label)
    for key in args.keys:
        shapes(key)  # refuses sizes that a key does not have
    return _told_of(load_function(args.sym_gen), args.sym_gen), shapes


def _told_of(function: Callable[[Any], Any], text: str) -> Callable[[Any], Any]:
    """Return the user's function; an error in it names the argument that brought it here."""

    @functools.wraps(function)
    def sym_gen(key: Hashable) -> Any:
        try:
            return function(key)
        except SymbucketError:
            raise
        except Exception as error:
            raise InvalidArgumentError(
                f"--sym-gen {text}: the function raised {type(error).__name__} for key {key!r}: "
                f"{error}. It must take a bucket key and return a symbol, or a symbol and the "
                "names of its data and labels. --debug shows where"
            ) from error

    return sym_gen


class Shapes:
    """``shapes(key)`` is (data_shapes, label_shapes), from texts such as ``data=32,key:NT``."""

    def __init__(self, data: Sequence[str], labels: Sequence[str]) -> None:
        self._data = [_parsed(text) for text in data]
        self._labels = [_parsed(text) for text in labels]

    def __call__(self, key: Hashable) -> tuple[list[DataDesc], list[DataDesc]]:
        """Return the descriptions for a key."""
        return [_desc(d, key) for d in self._data], [_desc(d, key) for d in self._labels]


def _parsed(text: str) -> dict[str, str]:
    parts = _SHAPE.fullmatch(text)
    if not parts or not all(_SIZE.fullmatch(s.strip()) for s in parts["sizes"].split(",")):
        raise InvalidArgumentError(
            f"{text!r} does not describe an array; write NAME=SIZES, as data=32,key or "
            "image=8,3,key[0],9"
        )
    return {name: value or "" for name, value in parts.groupdict().items()}


def _desc(parts: dict[str, str], key: Hashable) -> DataDesc:
    sizes = []
    for text in parts["sizes"].split(","):
        text = text.strip()
        size: Any = text
        if text == "key":
            size = key
        elif text.startswith("key"):
            index = int(text[4:-1])
            size = key[index] if isinstance(key, tuple) and index < len(key) else None
        if isinstance(size, bool) or not str(size).isdigit():
            raise InvalidArgumentError(f"{parts['name']}: key {key!r} has no size {text!r}")
        sizes.append(int(size))
    layout = parts["layout"] or ("NT" if len(sizes) == 2 else "NCHW")
    return DataDesc(parts["name"], sizes, parts["dtype"] or "float32", layout)


def load_function(text: str) -> Callable[[Any], Any]:
    """Return the function that ``module:function`` or ``file.py:function`` names."""
    where, _, name = text.rpartition(":")
    if not where or not name:
        raise InvalidArgumentError(f"{text!r} does not name a function; write MODULE:FUNCTION")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            if "" not in sys.path:
                sys.path.insert(0, "")
            module = importlib.import_module(where)
    except (ImportError, OSError) as error:
        raise InvalidArgumentError(f"cannot import {where!r}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InvalidArgumentError(f"{where!r} has no function {name!r}")
    return cast("Callable[[Any], Any]", function)


def last_epoch(prefix: str) -> int:
    """Return the number of the newest checkpoint; raise BundleError if there is none."""
    folder, name = Path(prefix).parent, Path(prefix).name
    pattern = re.compile(re.escape(name) + r"-(\d{4,})\.params")
    matches = []
    if folder.is_dir():
        matches = [m for m in map(pattern.fullmatch, (p.name for p in folder.iterdir())) if m]
    if not matches:
        raise BundleError(f"there is no checkpoint {prefix}-0001.params or later")
    return max(int(m[1]) for m in matches)


def bind_all(module: BucketingModule, keys: Sequence[Hashable], shapes: Shapes, **how: Any) -> None:
    """Bind the default key, then the others."""
    module.bind(*shapes(module.default_bucket_key), **how)
    for key in keys:
        module.switch_bucket(key, *shapes(key))
