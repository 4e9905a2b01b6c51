"""Laws of screening that hold for any payments in any order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from yinqi.kernel.clock import FixedClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.kernel.money import Money
from yinqi.monitoring import rules, use_cases
from yinqi.monitoring.masking import mask_account
from yinqi.monitoring.model import Alert, Screening, ScreeningSubject, StoredScreening, Verdict
from yinqi.monitoring.rules import ScreeningRules

CLOCK = FixedClock(datetime(2026, 11, 22, tzinfo=UTC))
TODAY = "2026-11-22"


class MemoryScreenings:
    """`ScreeningStore` in dictionaries."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredScreening] = {}
        self.counts: dict[str, int] = {}

    def find(self, instruction_ids: Collection[str]) -> Mapping[str, StoredScreening]:
        return {key: self.stored[key] for key in instruction_ids if key in self.stored}

    def count_repeats(self, increments: Mapping[str, int]) -> Mapping[str, int]:
        before = {key: self.counts.get(key, 0) for key in increments}
        self.counts |= {key: before[key] + count for key, count in increments.items()}
        return before

    def add(self, screenings: Sequence[tuple[Screening, str]], screened_at: datetime) -> None:
        for screening, digest in screenings:
            assert screening.instruction_id not in self.stored
            self.stored[screening.instruction_id] = StoredScreening(screening, digest)


class MemoryAlerts:
    """The part of `AlertStore` that screening uses."""

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, str], Alert] = {}

    def raise_once(self, alerts: Sequence[Alert]) -> int:
        new = [alert for alert in alerts if (alert.rule, alert.subject) not in self.by_key]
        self.by_key |= {(alert.rule, alert.subject): alert for alert in new}
        return len(new)


class MemoryStore:
    """`Store` without a database."""

    def __init__(self) -> None:
        self.screenings = MemoryScreenings()
        self.alerts = MemoryAlerts()


accounts = st.sampled_from(["6225880000000001", "6225880000000002", "755000000000001"])
subjects = st.builds(
    lambda number, creditor, amount: ScreeningSubject(
        f"YQ{number}", f"E{number}", "755000000000001", creditor, "某公司", Money("CNY", amount)
    ),
    number=st.integers(0, 10_000),
    creditor=accounts,
    amount=st.sampled_from([1, 500, 1_000, 1_001]),
)
unique_subjects = st.lists(subjects, min_size=1, max_size=30, unique_by=lambda s: s.instruction_id)
facts = st.builds(
    ScreeningRules,
    amount_max=st.just({"CNY": 1_000}),
    blocked_accounts=st.sampled_from([frozenset(), frozenset({"6225880000000002"})]),
    repeats_max=st.integers(0, 3),
    repeats_block=st.booleans(),
)


def screen(batch: Sequence[ScreeningSubject], rule_facts: ScreeningRules, store: MemoryStore) -> list[Screening]:
    result = use_cases.screen_payments(
        batch,
        rule_facts,
        store,  # type: ignore[arg-type]
        TimeOrderedIds(CLOCK),
        CLOCK.now(),
        TODAY,
    )
    return result.screenings


@settings(max_examples=60, deadline=None)
@given(unique_subjects, facts, st.integers(1, 29))
def test_the_same_subject_gets_the_same_verdict_however_often_and_in_which_batches(
    batch: list[ScreeningSubject], rule_facts: ScreeningRules, cut: int
) -> None:
    store = MemoryStore()
    first = [screening for part in (batch[:cut], batch[cut:]) if part for screening in screen(part, rule_facts, store)]
    alerts = set(store.alerts.by_key)
    assert screen(batch, rule_facts, store) == first
    assert screen(batch + batch[:3], rule_facts, store)[: len(batch)] == first
    assert set(store.alerts.by_key) == alerts


@settings(max_examples=60, deadline=None)
@given(unique_subjects, facts)
def test_one_verdict_per_subject_in_order_and_each_block_has_its_rule_and_alert(
    batch: list[ScreeningSubject], rule_facts: ScreeningRules
) -> None:
    store = MemoryStore()
    screenings = screen(batch, rule_facts, store)
    assert [s.instruction_id for s in screenings] == [s.instruction_id for s in batch]
    for screening in screenings:
        is_blocked = screening.verdict is Verdict.BLOCK
        assert is_blocked == bool(screening.rule) == bool(screening.description) == bool(screening.description_zh)
        assert is_blocked == (("payment_blocked", screening.instruction_id) in store.alerts.by_key)


@settings(max_examples=60, deadline=None)
@given(unique_subjects, facts)
def test_what_a_rule_blocks_alone_is_blocked_in_any_company(
    batch: list[ScreeningSubject], rule_facts: ScreeningRules
) -> None:
    for subject, screening in zip(batch, screen(batch, rule_facts, MemoryStore()), strict=True):
        found = rules.find_block(subject, rule_facts)
        if found is not None:
            assert screening.rule == found.rule
        elif not rule_facts.repeats_block:
            assert screening.verdict is Verdict.PASS


@given(st.sampled_from(["amount", "creditor_account", "creditor_name", "debtor_account"]))
def test_an_instruction_that_changed_after_its_screening_is_blocked(field: str) -> None:
    store, rule_facts = MemoryStore(), ScreeningRules()
    subject = ScreeningSubject("YQ1", "E1", "755", "622", "某公司", Money("CNY", 5))
    assert screen([subject], rule_facts, store)[0].verdict is Verdict.PASS
    from dataclasses import replace

    changed = replace(subject, **{field: Money("CNY", 6) if field == "amount" else "other"})
    assert screen([changed], rule_facts, store)[0].rule == "subject_changed"


@given(st.text(max_size=40))
def test_a_masked_account_never_shows_more_than_eight_characters(identification: str) -> None:
    masked = mask_account(identification)
    assert len(masked.replace("*", "")) <= 8
    if len(identification) > 8:
        assert identification not in masked
