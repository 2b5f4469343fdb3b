"""The command ``symbucket``.

Built on argparse: the command comes with every installation, also one without extras, where
``info`` has to say which of them are missing; and the example takes the same arguments.
"""

from symbucket.cli.main import main

__all__ = ["main"]
