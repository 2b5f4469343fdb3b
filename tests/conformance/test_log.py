"""Loggers as ``mx.log`` makes them."""

from __future__ import annotations

import logging
import re

import symbucket as sb


def test_lines_begin_with_level_time_process_and_place(tmp_path):
    path = tmp_path / "run.log"
    logger = sb.log.get_logger("test of log", path, "w", sb.log.INFO)
    logger.debug("not written")
    logger.info("rate %g", 0.5)
    assert sb.log.get_logger("test of log") is logger
    assert len(logger.handlers) == 1
    text = path.read_text()
    assert re.fullmatch(r"I\d{4} \d\d:\d\d:\d\d \d+ .*test_log.py:\w+:\d+\] rate 0.5\n", text)
    logger.handlers.pop().close()


def test_the_root_logger_is_left_alone():
    handlers, level = list(logging.root.handlers), logging.root.level
    assert sb.log.getLogger() is logging.root
    assert (logging.root.handlers, logging.root.level) == (handlers, level)
