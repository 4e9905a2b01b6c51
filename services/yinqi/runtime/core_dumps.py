"""No core dumps: a process that holds keys, names and account numbers leaves none of them in a file when it dies."""

from __future__ import annotations

import ctypes
import resource
import sys

import structlog

_log = structlog.get_logger(__name__)
_PR_SET_DUMPABLE = 4  # prctl(2); off: no core, whatever its limit or pipe says, and no other user's debugger


def forbid_core_dumps() -> bool:
    """Keep the kernel from writing this process's memory anywhere; return whether it promised to (only Linux can)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return False
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _log.warning("core dumps cannot be switched off", errno=ctypes.get_errno())
        return False
    return True
