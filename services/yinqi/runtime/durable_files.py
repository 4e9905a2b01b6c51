"""Small files that must be whole and on the disk (keys, what was decided last), and whether they have changed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

Stamp = tuple[tuple[int, int, int] | None, ...]


def write_durably(file: Path, content: bytes, mode: int, *, replaces: bool = True) -> None:
    """Write a file to the disk, its name included, so that a crash loses none.

    Args:
        mode: permissions of the new file.
        replaces: in one step in place of what is there, so that nobody sees half of it; else nothing may be there.
    Raises:
        FileExistsError: it is there, and may not be replaced. OSError: it cannot be written.
    """
    target = file.with_name(f"{file.name}.new") if replaces else file
    if replaces:
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    if replaces:
        target.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def stamp_of(files: Sequence[Path | None]) -> Stamp:
    """Return modification time in ns, size and inode of each file; None for one that is not there."""
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        found = None
        with contextlib.suppress(OSError):
            if file is not None:
                status = file.stat()  # Follows links: a Secret on Kubernetes is changed by moving one.
                found = (status.st_mtime_ns, status.st_size, status.st_ino)
        stamps.append(found)
    return tuple(stamps)
