"""Arguments of programs: types that say what is wrong with a text, a parser, an exit code."""

from __future__ import annotations

import sys
from argparse import (
    Action,
    ArgumentDefaultsHelpFormatter,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Callable

from symbucket.context import Context
from symbucket.errors import DeviceError, SymbucketError
from symbucket.runtime.backend import is_available
from symbucket.runtime.providers import provider_of


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a type of arguments: an integer of ``minimum`` or more, up to ``maximum``."""
    expected = f"{minimum} or more" if maximum is None else f"from {minimum} to {maximum}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not an integer") from None
        if number < minimum or (maximum is not None and number > maximum):
            raise ArgumentTypeError(f"{number} is not {expected}")
        return number

    return parse


def positive(text: str) -> float:
    """Return a finite number above 0."""
    number = _number(text)
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text} is not above 0")
    return number


def fraction(text: str) -> float:
    """Return a number from 0 up to but excluding 1."""
    number = _number(text)
    if not 0 <= number < 1:
        raise ArgumentTypeError(f"{text} is not from 0 up to but excluding 1")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def device(gpu: int | None) -> Context:
    """Return the context of ``--gpus``; raise DeviceError if the runtime does not have it."""
    if gpu is None:
        return Context("cpu")
    context = Context("gpu", gpu)
    provider = provider_of(context)
    if not is_available(provider.name):
        raise DeviceError(
            f"--gpus {gpu} needs the {provider.name}, which the installed runtime does not have. "
            f"Install symbucket[{provider.extra}] in place of it, or leave out --gpus"
        )
    return context


def page(text: str) -> str:
    """Return the name of a page."""
    if not text.lower().endswith(".html"):
        raise ArgumentTypeError(f"{text!r} does not end in .html")
    return text


class Formatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the layout of examples, and shows the defaults of arguments that have one."""

    def _get_help_string(self, action: Action) -> str | None:
        if action.default is None or isinstance(action.default, bool) or action.required:
            return action.help
        if action.default in ("", []):
            return action.help
        return super()._get_help_string(action)


def argument_parser(program: str, description: str) -> ArgumentParser:
    """Return a parser whose help shows defaults, and that takes no shortened names."""
    return ArgumentParser(
        prog=program,
        description=description,
        formatter_class=Formatter,
        allow_abbrev=False,
    )


def run_program(program: str, run: Callable[[Namespace], object], args: Namespace) -> int:
    """Run a program and return its exit code; an error of symbucket's is one line."""
    try:
        run(args)
    except SymbucketError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    return 0
