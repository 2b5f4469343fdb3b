"""Loaded models that several keys run: a session takes most of the memory of a key.

The first model of a structure is loaded as it is. From the second one on, models that differ in
sizes alone are one, loaded once: see ``symbucket/compiler/generic_model.py``.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress

from symbucket.compiler import Program
from symbucket.compiler.generic_model import Family, Outline, outline
from symbucket.context import Context
from symbucket.errors import SymbucketError
from symbucket.runtime.arena import sharing
from symbucket.runtime.session import LoadedModel, Session, is_profiling
from symbucket.runtime.threads import session_threads, thread_count

_MOST_STRUCTURES = 256  # of which the sizes are remembered; the models live with their sessions
_MOST_FAMILIES = 8  # of one structure


class _Candidate:
    """The first model of a family to be, then the family."""

    def __init__(self, first: Outline) -> None:
        self.first = first
        self.family: Family | None = None
        self._model: weakref.ref[LoadedModel] | None = None

    def model(self, program: Program, context: Context, name: str) -> LoadedModel:
        """Return the family's model, loaded if nobody has it."""
        assert self.family is not None
        model = None if self._model is None else self._model()
        if model is None:
            model = _load(self.family.model(program), program, context, name)
            self._model = weakref.ref(model)
        return model


def _load(model: bytes, program: Program, context: Context, name: str) -> LoadedModel:
    """Load a model as a program runs it: the threads are divided among the program's shards."""
    shards = _shards(program)
    if shards == 1:
        return LoadedModel(model, context, name)
    return LoadedModel(model, context, name, max(1, thread_count() // shards), runs_at_once=True)


def _shards(program: Program) -> int:
    """Return in how many shards a program runs."""
    return 1 if program.sharding is None else program.sharding.parts


class SharedModels:
    """Gives sessions for programs, over one loaded model where that is possible."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._candidates: OrderedDict[Hashable, list[_Candidate]] = OrderedDict()

    def session(self, program: Program, context: Context, name: str, need: int) -> Session:
        """Return a new session; ``need`` as of ``Session``."""
        if context.device_type == "cpu" and program.values and not is_profiling():
            one = outline(program)
            with self._lock:
                candidate = self._candidate(one, context, _shards(program))
                if candidate is not None:
                    assert candidate.family is not None
                    # What the runtime has against the family's model, it may not have against this.
                    with suppress(SymbucketError):
                        model = candidate.model(program, context, name)
                        constants = candidate.family.constants_of(one)
                        return Session(model, context, name, need, constants=constants)
        own = program.model
        whole = _shards(program) == 1
        return Session(own if whole else _load(own, program, context, name), context, name, need)

    def _candidate(self, one: Outline, context: Context, shards: int = 1) -> _Candidate | None:
        """Return the family that a model belongs to, None if it is the first of its kind."""
        key = one.structure, context, session_threads(None), sharing(), shards
        candidates = self._candidates.setdefault(key, [])
        self._candidates.move_to_end(key)
        if len(self._candidates) > _MOST_STRUCTURES:
            self._candidates.popitem(last=False)
        for candidate in candidates:
            if candidate.family is None:
                family = Family(candidate.first, one)
                if family.varies:
                    candidate.family = family
                    return candidate
                return None  # the same once more
            if candidate.family.admits(one):
                return candidate
        if len(candidates) < _MOST_FAMILIES:
            candidates.append(_Candidate(one))
        return None


SHARED_MODELS = SharedModels()
"""Those of the process."""
