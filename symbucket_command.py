"""The script ``symbucket``: imports the package where an interrupt is no traceback yet."""

import sys


def main() -> int:
    """Run ``symbucket.cli`` and return its exit code; 130 if Ctrl-C came while it was imported."""
    try:
        from symbucket.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("symbucket: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
