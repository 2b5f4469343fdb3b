"""All that training depends on, taken from a module and its iterator, and put back."""

from __future__ import annotations

import logging
import platform
import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.checkpoint.whole import RECORD_VERSION, WholeCheckpoint
from symbucket.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from symbucket.module.checkpointed import Checkpointed
from symbucket.plain_values import from_plain, to_plain
from symbucket.runtime import NDArray
from symbucket.runtime.backend import ort
from symbucket.runtime.threads import thread_count
from symbucket.version import __version__

logger = logging.getLogger("symbucket.checkpoint")

Record = dict[str, Any]


def random_state() -> Any:
    """Return the states of all generators that a program may draw from, as JSON values."""
    return to_plain(
        {
            "symbucket": seeding.state(),
            "numpy": np.random.get_state(),
            "python": random.getstate(),
        }
    )


def restore_random(state: Any) -> None:
    """Go on with the generators where ``random_state`` was."""
    states = from_plain(state)
    seeding.restore(states["symbucket"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])


def require_trainable(module: Any) -> None:
    """Raise UnsupportedError for kinds of modules whose parameters are not in one place."""
    if not isinstance(module, Checkpointed):
        raise UnsupportedError(
            f"{type(module).__name__} has no parameters of its own, so a checkpoint of everything "
            "cannot be made of it; save_checkpoint of its parts can"
        )


def take_arrays(module: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return all arrays by prefixed names. They are views: write them before the next step."""
    store = module.store
    groups: dict[str, Mapping[str, Any]] = {
        "arg": store.args,
        "aux": store.aux,
        "state": module.updater.states() if module.optimizer_initialized else {},
        "grad": store.grads if module.sums_gradients else {},
        "carried": module.carried_arrays(),
    }
    return {
        f"{prefix}:{name}": array.view() if isinstance(array, NDArray) else array
        for prefix, arrays in groups.items()
        for name, array in arrays.items()
    }


def take_record(module: Any, progress: Mapping[str, int], scores: Mapping[str, float]) -> Record:
    """Return all that is no array and no iterator."""
    return {
        "version": RECORD_VERSION,
        "progress": dict(progress),
        "scores": dict(scores),
        "module": type(module).__name__,
        "network": module._saved_symbol().digest(),
        "default_bucket_key": repr(getattr(module, "default_bucket_key", None)),
        "clocks": [[clock.steps(False), clock.steps(True)] for clock in module.noise_clocks],
        "optimizer": _optimizer_record(module) if module.optimizer_initialized else None,
        "random": random_state(),
        "versions": versions(),
    }


def versions() -> dict[str, Any]:
    """Return what the last bits of numbers depend on besides the program."""
    return {
        "symbucket": __version__,
        "onnxruntime": ort.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": thread_count(),
    }


def _optimizer_record(module: Any) -> Record:
    optimizer = module.updater.optimizer
    schedule = optimizer.lr_scheduler
    return {
        "name": type(optimizer).__name__,
        "counters": module.updater.counters(),
        "learning_rate": optimizer.lr,
        "initial_learning_rate": optimizer.initial_lr,
        "base_lr": getattr(schedule, "base_lr", None),
        "schedule": None if schedule is None else type(schedule).__name__,
        "numbers": _numbers(optimizer),
    }


def _numbers(optimizer: Any) -> dict[str, float]:
    return {
        name: value
        for name, value in sorted(vars(optimizer).items())
        if isinstance(value, (int, float))
        and not name.startswith("_")
        and name not in ("lr", "num_update", "begin_num_update", "initial_lr")
        and not (name == "rescale_grad" and optimizer.rescale_by_batch)
    }


def check_fits(module: Any, checkpoint: WholeCheckpoint) -> None:
    """Raise CheckpointError if a checkpoint is that of another network or optimizer."""
    record, where = checkpoint.record, checkpoint.path or "the checkpoint"
    if record["version"] != RECORD_VERSION:
        raise CheckpointError(
            f"{where} has version {record['version']!r}; this symbucket reads {RECORD_VERSION}"
        )
    for prefix, kind, arrays in (
        ("arg", "parameter", module.store.args),
        ("aux", "auxiliary state", module.store.aux),
    ):
        saved = checkpoint.group(prefix)
        for name in sorted({*saved, *arrays}):
            if name not in saved or name not in arrays:
                holder = "the network" if name in arrays else "the checkpoint"
                raise CheckpointError(
                    f"{where} does not fit the network: only {holder} has the {kind} {name!r}"
                )
            old, new = saved[name], arrays[name]
            if (old.shape, old.dtype) != (new.shape, new.dtype):
                raise CheckpointError(
                    f"{where} does not fit the network: {kind} {name!r} is {old.dtype} "
                    f"{old.shape} in it, {new.dtype} {new.shape} in the network"
                )
    key = repr(getattr(module, "default_bucket_key", None))
    if record["network"] != module._saved_symbol().digest():
        if key == record["default_bucket_key"]:
            raise CheckpointError(
                f"{where} is that of another network: its parameters have the same names and "
                "shapes, but they were trained to compute something else. To use them all the "
                "same: set_params(checkpoint.group('arg'), checkpoint.group('aux'))"
            )
        logger.warning(
            "the default bucket key was %s and is %s now; that its network is the same one at "
            "another length cannot be checked",
            record["default_bucket_key"],
            key,
        )
    saved_optimizer = record["optimizer"]
    name = type(module.updater.optimizer).__name__ if module.optimizer_initialized else None
    if (saved_optimizer or {}).get("name") != name:
        raise CheckpointError(
            f"{where} was written with the optimizer "
            f"{(saved_optimizer or {}).get('name') or 'none'}, here is {name or 'none'}; make the "
            "same one first (init_optimizer)"
        )


def put_back(module: Any, checkpoint: WholeCheckpoint) -> None:
    """Set everything but the iterator and the metric; ``check_fits`` comes before it."""
    record, store = checkpoint.record, module.store
    restore_random(record["random"])
    if module.optimizer_initialized:
        updater, saved = module.updater, record["optimizer"]
        updater.allocate(range(len(store.grads)), [store.args[n] for n in store.grads])
        updater.set_states(checkpoint.group("state"), saved["counters"])
        _set_rate(updater.optimizer, saved)
    store.initialize(None, checkpoint.group("arg"), checkpoint.group("aux"), False, False)
    for name, values in checkpoint.group("grad").items():
        store.grads[name][...] = values
    module.set_carried_arrays(checkpoint.group("carried"))
    clocks = module.noise_clocks
    if len(clocks) != len(record["clocks"]):
        logger.warning(
            "the checkpoint is of %d contexts, the module has %d: sums and random numbers will "
            "differ from those of one run",
            len(record["clocks"]),
            len(clocks),
        )
    for clock, steps in zip(clocks, record["clocks"]):
        for is_train in (False, True):
            clock.set_steps(is_train, steps[is_train])
    now = versions()
    if changes := [
        f"{n} {v} is {now.get(n)} now" for n, v in record["versions"].items() if now.get(n) != v
    ]:
        logger.warning("numbers may differ in their last bits: %s", ", ".join(changes))


def _set_rate(optimizer: Any, saved: Record) -> None:
    """Set the learning rate, unless the program starts with another one now; say what changed."""
    changes = [
        f"{name} was {value} and is {_numbers(optimizer).get(name)} now"
        for name, value in saved["numbers"].items()
        if _numbers(optimizer).get(name) != value
    ]
    schedule = optimizer.lr_scheduler
    if (None if schedule is None else type(schedule).__name__) != saved["schedule"]:
        changes.append(f"the schedule was {saved['schedule']} and is {schedule!r} now")
    elif optimizer.initial_lr != saved["initial_learning_rate"]:
        changes.append(
            f"learning_rate was {saved['initial_learning_rate']} at the start and is "
            f"{optimizer.initial_lr} now"
        )
    else:
        optimizer.lr = saved["learning_rate"]
        if schedule is not None and saved["base_lr"] is not None:
            schedule.base_lr = saved["base_lr"]
    if changes:
        logger.warning("the optimizer goes on with other numbers: %s", "; ".join(changes))


def restore_iterator(iterator: Any, state: Mapping[str, Any] | None) -> None:
    """Let an iterator go where it was; one without ``restore`` passes over what had its turn.

    Raises InvalidArgumentError if the state is that of another kind of iterator.
    """
    if state is None:
        return
    if "batches" not in state:
        if not hasattr(iterator, "restore"):
            raise InvalidArgumentError(
                f"the checkpoint has the state of a {state.get('iterator')}, but "
                f"{type(iterator).__name__} has no restore(state)"
            )
        iterator.restore(state)
        return
    if type(iterator).__name__ != state["iterator"]:
        raise InvalidArgumentError(
            f"the checkpoint is that of a {state['iterator']}, here is a {type(iterator).__name__}"
        )
    logger.warning(
        "%s has no state(): its epoch begins again and %d batches are passed over. That is exact "
        "if the order of an epoch follows from numpy's, Python's or symbucket's random numbers at "
        "its reset()",
        state["iterator"],
        state["batches"],
    )
    now = random_state()
    restore_random(state["random"])
    iterator.reset()
    for _ in range(state["batches"]):
        next(iter(iterator))
    restore_random(now)
