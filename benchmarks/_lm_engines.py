"""The driver's side: which engines there are, and one worker process for each."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
# Engine -> worker file and variant. Each has a second form with "-padded" behind its name.
# "all-rows" is symbucket without the pass that leaves ignored rows out of the output layer, which
# makes padding far cheaper than it is elsewhere.
KINDS = {
    "symbucket": ("_symbucket_lm.py", "plain"),
    "torch": ("_torch_lm.py", "plain"),
    "torch-tuned": ("_torch_lm.py", "tuned"),
    "mxnet": ("_mxnet_lm.py", "plain"),
    "symbucket-all-rows": ("_symbucket_lm.py", "all-rows"),
}
PADDED = "-padded"
NAMES = (*KINDS, *(kind + PADDED for kind in KINDS))


class WorkerError(RuntimeError):
    """A worker ended or could not answer; the message has the end of what it wrote."""


@dataclass(frozen=True)
class EngineSpec:
    """An engine under an interpreter."""

    name: str
    python: str

    @property
    def kind(self) -> str:
        """The name without "-padded"."""
        return self.name[: -len(PADDED)] if self.padded else self.name

    @property
    def padded(self) -> bool:
        """Whether all batches are padded to the largest bucket."""
        return self.name.endswith(PADDED)


class Worker:
    """A process that waits for commands; as a context manager it is ended at the end."""

    def __init__(self, spec: EngineSpec, folder: Path, threads: int) -> None:
        self.spec = spec
        script, variant = KINDS[spec.kind]
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
        paths = [str(HERE.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
        # Closed by __exit__; a pipe that nobody reads could fill up and stop the worker.
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        command = [spec.python, str(HERE / script), str(folder), variant]
        try:
            self._process = subprocess.Popen(
                [*command, "padded" if spec.padded else ""],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                encoding="utf-8",
            )
        except OSError as error:
            self._log.close()
            raise WorkerError(f"{spec.name}: cannot start {spec.python}: {error}") from error

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()  # the worker's loop ends with its input
            process.wait(timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        process.stdout.close()
        self._log.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(self._obituary(command))
        return json.loads(line)

    def _obituary(self, command: str) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().splitlines()[-12:]
        return (
            f"{self.spec.name} under {self.spec.python} ended with status {code} at {command!r}:\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def has_module(python: str, module: str) -> bool:
    """Whether an interpreter finds a package (it is not imported)."""
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    try:
        return subprocess.run([python, "-c", code], check=False).returncode == 0
    except OSError:
        return False
