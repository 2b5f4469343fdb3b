"""The driver's side of a benchmark: a process that waits for commands, a line of JSON each."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent


class WorkerError(RuntimeError):
    """A worker ended or could not answer; the message has the end of what it wrote."""


class WorkerProcess:
    """A worker that runs ``script`` of this folder; as a context manager it is ended at the end."""

    def __init__(
        self, name: str, python: str, script: str, arguments: Sequence[str], threads: int
    ) -> None:
        self.name, self.python = name, python
        environment = dict(os.environ)
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[variable] = str(threads)
        paths = [str(HERE.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
        # Closed by __exit__; a pipe that nobody reads could fill up and stop the worker.
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [python, str(HERE / script), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                encoding="utf-8",
            )
        except OSError as error:
            self._log.close()
            raise WorkerError(f"{name}: cannot start {python}: {error}") from error

    def __enter__(self) -> WorkerProcess:
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
            f"{self.name} under {self.python} ended with status {code} at {command!r}:\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def has_module(python: str, module: str) -> bool:
    """Whether an interpreter finds a package (it is not imported)."""
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    try:
        return subprocess.run([python, "-c", code], check=False).returncode == 0
    except OSError:
        return False
