"""Parse the command line; an error becomes one line and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from symbucket.apps.arguments import Formatter
from symbucket.checks import did_you_mean
from symbucket.cli import export, import_mxnet, info, plan, run, serve, train, view
from symbucket.errors import SymbucketError
from symbucket.version import __version__

EXIT_CODES = """\
exit codes: 0 done; 1 something broke (--debug shows where); 2 bad arguments or files;
130 interrupted"""

_COMMANDS = (train, export, import_mxnet, run, serve, plan, view, info)
_CHOICE = re.compile(r"invalid choice: '?([^']*?)'? \(choose from (.*)\)")


class _Parser(argparse.ArgumentParser):
    """A parser that suggests the choice that was meant."""

    def error(self, message: str) -> NoReturn:
        if choice := _CHOICE.search(message):
            choices = [text.strip(" '") for text in choice[2].split(",")]
            message += did_you_mean(choice[1], choices)
        super().error(message)

    def options(self) -> list[str]:
        """The names of all options."""
        return [option for action in self._actions for option in action.option_strings]


def build(prog: str = "symbucket") -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser, and those of the commands by name."""
    parser = _Parser(
        prog=prog,
        description="Bucketing on ONNX Runtime: train, export, serve.",
        epilog=f"symbucket COMMAND --help shows its arguments and an example.\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"symbucket {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers: dict[str, _Parser] = {}
    for module in _COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=f"{module.EXAMPLE}\n{EXIT_CODES}",
            formatter_class=Formatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show where an error comes from")
        command.set_defaults(function=module.run, parser=command)
        parsers[name] = command
    return parser, parsers


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command and return its exit code; ``prog`` is how usage and errors call it."""
    parser, parsers = build()
    if prog is not None:
        for command in parsers.values():
            command.prog = prog
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        suggestion = did_you_mean(unknown[0], args.parser.options())
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}{suggestion}")
    name = args.parser.prog
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a word that the terminal cannot show: "?"
            sys.stdout.reconfigure(errors="replace")
        code: int = args.function(args)
        if sys.stdout is not None:  # None: the caller closed it
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if args.debug:
            raise
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SymbucketError as error:
        if args.debug:
            raise
        print(f"{name}: error: {_line(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        if args.debug:
            raise
        kind = type(error).__name__
        print(f"{name}: {kind}: {_line(error)} (--debug shows where)", file=sys.stderr)
        return 1


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"
