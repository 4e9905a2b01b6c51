"""What must be set before anybody imports grpc; the first import of the command line."""

from __future__ import annotations

import os

# The supervisor forks to start its children, which are new programs; grpc's fork handlers would print a line each time.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # noqa: TID251 (grpc reads it when it is imported)
