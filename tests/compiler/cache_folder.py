"""What lies in a folder of compiled models."""

import os


def files(folder):
    """The files of a folder, hidden ones too."""
    return sorted(os.listdir(folder))
