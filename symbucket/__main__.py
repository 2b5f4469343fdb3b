"""``python -m symbucket``: the command ``symbucket``."""

import sys

from symbucket.cli import main

if __name__ == "__main__":
    sys.exit(main())
