"""The command ``symbucket``.

Built on argparse, since every installation has the command, also one without extras, where ``info``
says which of them are missing.
"""

from symbucket.cli.main import main

__all__ = ["main"]
