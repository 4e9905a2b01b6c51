"""The life of a bank key: two people put it in use, the one before overlaps, and no forged entry counts."""

from __future__ import annotations

import datetime as dt

import pytest

from yinqi.gateway import key_set
from yinqi.gateway.key_set import KeyEvent, KeyEventKind, KeyPurpose, KeySet, KeyState, key_set_of
from yinqi.kernel.errors import AlreadyExists, FailedPrecondition, InvalidRequest, NotFound, PermissionDenied

T0 = dt.datetime(2026, 11, 22, 6, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
SIGNING = KeyPurpose.SIGNING


def event(kind: KeyEventKind, key_id: str, actor: str, hours: float = 0.0, **more: object) -> KeyEvent:
    return KeyEvent("demo_bank", key_id, SIGNING, kind, actor, T0 + hours * HOUR, **more)  # type: ignore[arg-type]


FIRST = event(KeyEventKind.ADOPTED, "old", "gateway")
STAGED = event(KeyEventKind.STAGED, "new", "li.si", 1)


def states(keys: KeySet, hours: float) -> dict[str, KeyState]:
    return {key.key_id: key.state_at(T0 + hours * HOUR) for key in keys}


def test_one_asks_another_confirms_and_the_key_before_overlaps() -> None:
    events = [FIRST, STAGED]
    events.append(key_set.asked(key_set_of(events), "new", 72 * HOUR, "li.si", T0 + 2 * HOUR))
    assert states(key_set_of(events), 2) == {"old": KeyState.ACTIVE, "new": KeyState.STAGED}
    events.append(key_set.confirmed(key_set_of(events), "new", "wang.wu", T0 + 3 * HOUR))
    keys = key_set_of(events)
    assert states(keys, 3) == {"old": KeyState.RETIRING, "new": KeyState.ACTIVE}
    assert states(keys, 74.9)["old"] is KeyState.RETIRING
    assert states(keys, 75)["old"] is KeyState.RETIRED
    assert key_set.overdue(keys, T0 + 74 * HOUR) == []
    (due,) = key_set.overdue(keys, T0 + 80 * HOUR)
    assert (due.key_id, due.actor) == ("old", "gateway")
    after = key_set_of([*events, due])
    assert key_set.overdue(after, T0 + 90 * HOUR) == []
    found = after.require("new")
    assert (found.staged_by, found.asked_by, found.activated_by) == ("li.si", "li.si", "wang.wu")


def test_the_same_person_nobody_or_too_late_cannot_confirm() -> None:
    asked = event(KeyEventKind.ACTIVATION_ASKED, "new", "li.si", 2)
    with pytest.raises(PermissionDenied, match="somebody else"):
        key_set.confirmed(key_set_of([FIRST, STAGED, asked]), "new", "li.si", T0 + 3 * HOUR)
    with pytest.raises(FailedPrecondition, match="Nobody asked"):
        key_set.confirmed(key_set_of([FIRST, STAGED]), "new", "wang.wu", T0 + 3 * HOUR)
    with pytest.raises(FailedPrecondition, match="last 7 days"):
        key_set.confirmed(key_set_of([FIRST, STAGED, asked]), "new", "wang.wu", T0 + 200 * HOUR)


@pytest.mark.parametrize(
    "forged",
    [
        [event(KeyEventKind.ACTIVATED, "new", "wang.wu", 2)],
        [event(KeyEventKind.ACTIVATION_ASKED, "new", "x", 2), event(KeyEventKind.ACTIVATED, "new", "x", 3)],
        [event(KeyEventKind.ADOPTED, "evil", "gateway", 2)],
        [event(KeyEventKind.RETIRED, "old", "x", 2)],
    ],
)
def test_an_entry_that_breaks_a_rule_changes_nothing_however_it_got_there(forged: list[KeyEvent]) -> None:
    keys = key_set_of([FIRST, STAGED, *forged])
    active = keys.active(SIGNING, T0 + 4 * HOUR)
    assert active is not None
    assert active.key_id == "old"


def test_a_key_comes_in_once_and_a_retired_one_never_again() -> None:
    retired = event(KeyEventKind.RETIRED, "new", "li.si", 2)
    with pytest.raises(AlreadyExists, match="never comes back"):
        key_set.check_new(key_set_of([FIRST, STAGED, retired]), event(KeyEventKind.STAGED, "new", "li.si", 3))
    with pytest.raises(FailedPrecondition, match="only a staged one"):
        key_set.asked(key_set_of([FIRST, STAGED, retired]), "new", HOUR, "li.si", T0 + 3 * HOUR)


def test_the_key_in_use_cannot_be_retired_and_unknown_ones_are_said_to_be() -> None:
    with pytest.raises(FailedPrecondition, match="Activate another one first"):
        key_set.retired(key_set_of([FIRST]), "old", "li.si", T0 + HOUR)
    with pytest.raises(NotFound, match="keys list"):
        key_set.retired(key_set_of([FIRST]), "who", "li.si", T0 + HOUR)


def test_days_and_overlap_are_bounded() -> None:
    late = event(KeyEventKind.STAGED, "new", "li.si", 1, valid_from=T0 + 9 * HOUR, valid_until=T0 + 10 * HOUR)
    for hours in (2, 11):
        with pytest.raises(FailedPrecondition, match="valid from"):
            key_set.asked(key_set_of([FIRST, late]), "new", HOUR, "li.si", T0 + hours * HOUR)
    with pytest.raises(InvalidRequest, match="90 days"):
        key_set.asked(key_set_of([FIRST, STAGED]), "new", dt.timedelta(days=91), "li.si", T0 + 2 * HOUR)
    with pytest.raises(InvalidRequest, match="valid_until"):
        key_set.check_new(key_set_of([FIRST]), event(KeyEventKind.STAGED, "new", "li.si", 1, valid_until=T0))
