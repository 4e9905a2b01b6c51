"""Two thousand seeded malformed messages at every door of the gateway: none crashes it, none is believed."""

from __future__ import annotations

from pathlib import Path

from tests.property.gateway.malformed import doors, run


def test_seeded_rubbish_is_refused_at_every_door(tmp_path: Path) -> None:
    outcome = run(2_000, 20261122, tmp_path)
    assert outcome.crashes == []
    assert outcome.wrongly_believed == []
    assert outcome.counts.total() == 2_000
    assert {"ANSWER_UNREADABLE", "BAD_SIGNATURE", "NOTICE_UNREADABLE"} <= outcome.counts.keys()


def test_the_unharmed_messages_are_believed(tmp_path: Path) -> None:
    for door in doors(tmp_path):
        assert door.read(door.good) == door.plain
