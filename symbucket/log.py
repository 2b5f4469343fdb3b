"""Loggers whose lines begin with level, time, process and place, as ``mx.log``."""

from __future__ import annotations

import logging
import os
from logging import CRITICAL, DEBUG, ERROR, INFO, NOTSET, WARNING

__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "INFO",
    "NOTSET",
    "WARNING",
    "getLogger",
    "get_logger",
]

_MARK = "_symbucket_handler"


class _Formatter(logging.Formatter):
    """``I1126 17:20:01 4711 train.py:main:12] text``: the level by its first letter."""

    def __init__(self) -> None:
        super().__init__(
            "%(letter)s%(asctime)s %(process)d %(pathname)s:%(funcName)s:%(lineno)d] %(message)s",
            datefmt="%m%d %H:%M:%S",
        )

    def format(self, record: logging.LogRecord) -> str:
        has_letter = record.levelno in (CRITICAL, ERROR, WARNING, INFO, DEBUG)
        record.letter = record.levelname[0] if has_letter else "U"
        return super().format(record)


def get_logger(
    name: str | None = None,
    filename: str | os.PathLike[str] | None = None,
    filemode: str | None = None,
    level: int = WARNING,
) -> logging.Logger:
    """Return a logger that writes such lines to a file, or to standard error.

    The first call with a name adds the handler and sets the level. The root logger (``name``
    None) is returned as it is.

    Args:
        name: of the logger. filename: of the file; None: standard error.
        filemode: mode in which the file is opened, "a" by default.
        level: lowest level that is written.
    """
    logger = logging.getLogger(name)
    if name is not None and not getattr(logger, _MARK, False):
        handler: logging.Handler = (
            logging.FileHandler(filename, filemode or "a") if filename else logging.StreamHandler()
        )
        handler.setFormatter(_Formatter())
        logger.addHandler(handler)
        logger.setLevel(level)
        setattr(logger, _MARK, True)
    return logger


getLogger = get_logger  # noqa: N816 - MXNet's older name
