"""Fail stop: a broken promise of the store ends the process, before it can acknowledge anything more."""

from __future__ import annotations

import os
from typing import NoReturn

import structlog

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h

_log = structlog.get_logger(__name__)


def end_process(error: BaseException) -> NoReturn:
    """End this process at once with exit code 70; no clean-up runs, because the store can no longer be trusted."""
    try:
        _log.critical(
            "fail stop: the store failed; check the disk, then start again",
            error=type(error).__name__,
            exc_info=error,
        )
    finally:
        os._exit(EXIT_CODE)
