"""Files next to a checkpoint of the language model, from which the same networks can be built."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from symbucket.errors import CheckpointError
from symbucket.files import write_atomic

SIZES = ("num_layers", "num_hidden", "num_embed", "dropout")
"""The arguments that the networks are made from, with the size of the vocabulary."""

_FORMAT = "symbucket-language-model-1"


def vocabulary_path(prefix: str) -> str:
    """Return the path of the vocabulary of a training run."""
    return f"{prefix}-vocabulary.json"


def save_model(args: argparse.Namespace) -> None:
    """Write sizes and buckets to ``PREFIX-model.json``."""
    content = {name: getattr(args, name) for name in (*SIZES, "buckets", "batch_size")}
    path = f"{args.checkpoint}-model.json"
    try:
        write_atomic(path, json.dumps({"format": _FORMAT, **content}, indent=1).encode())
    except OSError as error:
        raise CheckpointError(f"cannot write {path!r}: {error}") from error


def load_model(prefix: str) -> dict[str, Any]:
    """Return what ``save_model`` wrote; raise CheckpointError if it is missing or damaged."""
    path = Path(f"{prefix}-model.json")
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"cannot read {str(path)!r}: {error.strerror}. It is written by training with "
            "--checkpoint; networks of your own need --sym-gen."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{str(path)!r} is damaged: {error}") from error
    fields = {"format", *SIZES, "buckets", "batch_size"}
    if not isinstance(model, dict) or set(model) != fields or model.pop("format") != _FORMAT:
        raise CheckpointError(f"{str(path)!r} does not describe a language model")
    return model
