"""How the archive keeps a message: compressed (Zstandard), then sealed where the database is, with a checksum of what is stored.

The checksum is for accidents and needs no key, so that a backup can be looked over; against people the seal and the journal
stand. Messages of before are zlib, in clear, without a checksum; they are read as they are.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable
from typing import Any

from yinqi.crypto import crc32c
from yinqi.kernel.errors import FailedPrecondition

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# An archive row is written before the first byte leaves, so it must be quick.
_LEVEL = 1
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1


class ArchiveDamaged(FailedPrecondition):
    """A message of the archive is not what was stored."""


def packed(content: bytes) -> bytes:
    """Return a message compressed."""
    return zstd.compress(content, _LEVEL)


def unpacked(stored: bytes) -> bytes:
    """Return the message that was compressed, by now or before."""
    return zstd.decompress(stored) if stored[:4] == _ZSTD_MAGIC else zlib.decompress(stored)


def checked(rows: Iterable[Any]) -> None:
    """Return if rows with `archive_id`, `content` and `checksum` are as they were stored.

    Raises:
        ArchiveDamaged: names the first that is not.
    """
    for row in rows:
        if row.checksum is not None and crc32c(bytes(row.content)) != row.checksum:
            raise ArchiveDamaged(
                "ARCHIVE_DAMAGED",
                f"gateway_messages.content of row {row.archive_id} is not what was stored (checksum). Restore it from a backup.",
                f"报文存档 {row.archive_id} 校验和不符，请从备份恢复。",
                metadata={"table": "gateway_messages", "column": "content", "row": row.archive_id},
            )
