"""How much of the archive goes into an evidence bundle."""

from __future__ import annotations

from datetime import UTC, datetime

from yinqi.gateway.evidence import bounded
from yinqi.gateway.model import ArchivedMessage, Direction

AT = datetime(2026, 11, 22, tzinfo=UTC)


def messages(*sizes: int) -> list[ArchivedMessage]:
    return [
        ArchivedMessage(f"AR{n}", "EX", "demo_bank", Direction.SENT, "F", "M", AT, size, "", b"x" * size)
        for n, size in enumerate(sizes)
    ]


def kept(sizes: list[int], bytes_max: int) -> list[str]:
    return [message.archive_id for message in bounded(messages(*sizes), bytes_max)]


def test_what_fits_is_kept_in_order_from_both_ends() -> None:
    assert kept([1, 1, 1, 1, 1], 5) == ["AR0", "AR1", "AR2", "AR3", "AR4"]
    assert kept([1, 1, 1, 1, 1], 3) == ["AR0", "AR1", "AR4"]
    assert kept([2, 9, 2], 5) == ["AR0", "AR2"]
    assert kept([9], 5) == []
    assert kept([], 5) == []
