"""The worker's side of a benchmark: commands on standard input, answers on standard output.

A command is a line of JSON, and so is an answer. Runs under Python 3.8 without packages, because
MXNet's worker imports it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO


def answer_stream() -> TextIO:
    """The standard output, which everything else that is printed no longer reaches."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    return answers


def answer(commands: Mapping[str, Callable[[dict[str, Any]], Any]], answers: TextIO) -> None:
    """Answer commands until ``stop`` or the end of the input."""
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "stop":
            break
        answers.write(json.dumps(commands[request["do"]](request)) + "\n")
        answers.flush()


def peak_memory() -> int:
    """Bytes of the process's largest resident set so far."""
    try:
        # Unlike getrusage, this does not count what the parent held when it forked.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
