"""Business verbs of monitoring: synchronous, one transaction each, batches in and out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from yinqi.kernel.errors import FailedPrecondition, FieldViolation, InvalidRequest, NotFound
from yinqi.kernel.ids import IdSource
from yinqi.monitoring import alert_rules, rules
from yinqi.monitoring.model import (
    ACTIVITY_BUCKET_S,
    NOTE_LENGTH_MAX,
    ActivityBucket,
    ActivityKind,
    Alert,
    AlertCause,
    AlertFilter,
    AlertStatus,
    Effects,
    EntrySeen,
    NoticeRefused,
    PaymentChange,
    PendingDelivery,
    ReconciliationChange,
    Screening,
    ScreeningSubject,
    StopSeen,
    StoredScreening,
    Verdict,
)
from yinqi.monitoring.ports import AlertStore, Channel, ScreeningStore, Store
from yinqi.monitoring.rules import Finding, ScreeningRules

SUBJECTS_MAX = 1_000
ALERT_ID_PREFIX = "AL"
_UNKNOWN_BATCH_MAX = 500
_ACTIVITY_KEPT = timedelta(days=1)
_KIND_BY_STATUS = {"RECEIVED": ActivityKind.RECEIVED, "SETTLED": ActivityKind.SETTLED}


@dataclass(frozen=True, slots=True)
class ScreeningResult:
    """One verdict per subject, in order, and which of them are new."""

    screenings: list[Screening]
    new_instruction_ids: frozenset[str]


def screen_payments(
    subjects: Sequence[ScreeningSubject],
    screening_rules: ScreeningRules,
    store: Store,
    ids: IdSource,
    now: datetime,
    today: str,
) -> ScreeningResult:
    """Give each subject its verdict; one that has a verdict gets the same again.

    Args:
        subjects: 1 to SUBJECTS_MAX, any order; an instruction_id may appear twice.
        today: banking date, ISO 8601.
    Raises:
        InvalidRequest: no subject, too many, or one without instruction_id.
    """
    _check_subjects(subjects)
    given = dict(store.screenings.find({subject.instruction_id for subject in subjects}))
    fresh = list({s.instruction_id: s for s in reversed(subjects) if s.instruction_id not in given}.values())[::-1]
    verdicts, causes = _decide(fresh, screening_rules, store.screenings, today)
    digests = {subject.instruction_id: rules.subject_digest(subject) for subject in fresh}
    store.screenings.add([(verdict, digests[verdict.instruction_id]) for verdict in verdicts], now)
    given |= {verdict.instruction_id: StoredScreening(verdict, digests[verdict.instruction_id]) for verdict in verdicts}
    answers = [_answer(subject, given[subject.instruction_id]) for subject in subjects]
    causes += [
        alert_rules.cause_of_block(subject, answer)
        for subject, answer in zip(subjects, answers, strict=True)
        if answer.verdict is Verdict.BLOCK
    ]
    raise_alerts(causes, store.alerts, ids, now)
    return ScreeningResult(answers, frozenset(digests))


def _check_subjects(subjects: Sequence[ScreeningSubject]) -> None:
    if not 1 <= len(subjects) <= SUBJECTS_MAX:
        raise InvalidRequest(
            "SUBJECT_COUNT",
            f"{len(subjects)} subjects in one call; 1 to {SUBJECTS_MAX} are allowed.",
            violations=[
                FieldViolation("subjects", "COUNT", f"1 to {SUBJECTS_MAX} subjects", f"1 至 {SUBJECTS_MAX} 笔")
            ],
        )
    for index, subject in enumerate(subjects):
        if not subject.instruction_id:
            field = f"subjects[{index}].instruction_id"
            raise InvalidRequest(
                "FIELD_INVALID",
                f"{field} is empty; every subject needs its instruction_id.",
                violations=[FieldViolation(field, "REQUIRED", "must not be empty", "不能为空")],
            )


def _decide(
    fresh: Sequence[ScreeningSubject], screening_rules: ScreeningRules, screenings: ScreeningStore, today: str
) -> tuple[list[Screening], list[AlertCause]]:
    """Apply the rules to subjects without a verdict; return verdicts in order and what people should know of them."""
    found: dict[str, Finding | None] = {s.instruction_id: rules.find_block(s, screening_rules) for s in fresh}
    # What is blocked anyway is not paid, so it makes no other payment a duplicate.
    counted = [subject for subject in fresh if found[subject.instruction_id] is None]
    causes: list[AlertCause] = []
    for subject, ordinal in _ordinals(counted, screening_rules, screenings, today):
        repeat = rules.find_repeat(subject, ordinal, screening_rules)
        if repeat is not None and screening_rules.repeats_block:
            found[subject.instruction_id] = repeat
        elif repeat is not None:
            causes.append(alert_rules.cause_of_finding(subject, repeat))
    return [_verdict(subject.instruction_id, found[subject.instruction_id]) for subject in fresh], causes


def _ordinals(
    counted: Sequence[ScreeningSubject], screening_rules: ScreeningRules, screenings: ScreeningStore, today: str
) -> list[tuple[ScreeningSubject, int]]:
    """Return each subject with its place (from 1) among the payments of its repeat key."""
    if screening_rules.repeats_max == 0 or not counted:
        return []
    keys = [rules.repeat_key(subject, today) for subject in counted]
    seen = dict(screenings.count_repeats(Counter(keys)))
    ordinals = []
    for subject, key in zip(counted, keys, strict=True):
        seen[key] += 1
        ordinals.append((subject, seen[key]))
    return ordinals


def _verdict(instruction_id: str, finding: Finding | None) -> Screening:
    return Screening(instruction_id, Verdict.PASS) if finding is None else rules.blocked(instruction_id, finding)


def _answer(subject: ScreeningSubject, stored: StoredScreening) -> Screening:
    if stored.digest != rules.subject_digest(subject):
        return rules.subject_changed(subject.instruction_id)
    return stored.screening


def raise_alerts(causes: Sequence[AlertCause], alerts: AlertStore, ids: IdSource, now: datetime) -> int:
    """Raise an alert for each cause that has none yet; return how many are new."""
    if not causes:
        return 0
    by_key = {(cause.rule, cause.subject): cause for cause in reversed(causes)}
    alert_ids = ids.new_ids(ALERT_ID_PREFIX, len(by_key))
    return alerts.raise_once(
        [
            Alert(
                alert_id=alert_id,
                rule=cause.rule,
                severity=cause.severity,
                status=AlertStatus.OPEN,
                subject=cause.subject,
                summary=cause.summary,
                summary_zh=cause.summary_zh,
                raised_at=now,
                traceparent=cause.traceparent,
            )
            for alert_id, cause in zip(alert_ids, reversed(by_key.values()), strict=True)
        ]
    )


def _take_effect(effects: Effects, alerts: AlertStore, ids: IdSource, now: datetime) -> None:
    raise_alerts(effects.raised, alerts, ids, now)
    if effects.closed:
        alerts.close(set(effects.closed), now)


def take_payment_changes(changes: Sequence[PaymentChange], store: Store, ids: IdSource, now: datetime) -> None:
    """Let a batch of the payment feed take effect: who waits for an answer, alerts, activity counters."""
    left, waiting = alert_rules.waiting_after(changes)
    store.watch.forget_unknown(left)
    store.watch.add_unknown(waiting)
    _take_effect(alert_rules.effects_of_payments(changes), store.alerts, ids, now)
    counts = Counter(
        (_bucket_start(change.occurred_at), _KIND_BY_STATUS[change.status])
        for change in changes
        if change.status in _KIND_BY_STATUS
    )
    store.watch.add_activity(
        [ActivityBucket(start_s, kind, count) for (start_s, kind), count in sorted(counts.items())]
    )


def _bucket_start(instant: datetime) -> int:
    seconds = int(instant.timestamp())
    return seconds - seconds % ACTIVITY_BUCKET_S


def take_reconciliation_changes(
    changes: Sequence[ReconciliationChange], store: Store, ids: IdSource, now: datetime
) -> None:
    """Let a batch of the reconciliation feed take effect. A break opened and ended in one batch stays closed."""
    _take_effect(alert_rules.effects_of_reconciliations(changes), store.alerts, ids, now)


def take_entries(entries: Sequence[EntrySeen], store: Store, ids: IdSource, now: datetime) -> None:
    """Let a batch of the account feed take effect."""
    _take_effect(alert_rules.effects_of_entries(entries), store.alerts, ids, now)


def take_notices(notices: Sequence[NoticeRefused | StopSeen], store: Store, ids: IdSource, now: datetime) -> None:
    """Let a batch of the gateway's feed take effect."""
    _take_effect(alert_rules.effects_of_notices(notices), store.alerts, ids, now)


def raise_unknown_too_long(store: Store, ids: IdSource, now: datetime, limit: timedelta) -> int:
    """Raise an alert for every payment UNKNOWN longer than the limit; return how many were looked at."""
    overdue = store.watch.take_unknown_since(now - limit, _UNKNOWN_BATCH_MAX)
    raise_alerts([alert_rules.unknown_too_long(payment, now) for payment in overdue], store.alerts, ids, now)
    return len(overdue)


def prune_activity(store: Store, now: datetime) -> None:
    """Forget throughput older than a day."""
    store.watch.prune_activity(int((now - _ACTIVITY_KEPT).timestamp()))


def acknowledge_alert(alert_id: str, note: str, person: str, alerts: AlertStore, now: datetime) -> Alert:
    """Put a person in charge of an alert; the same person may say it again.

    Raises:
        InvalidRequest: the note is too long. NotFound: no such alert.
        FailedPrecondition: ALERT_CLOSED, or ALERT_TAKEN: somebody else has it.
    """
    if len(note) > NOTE_LENGTH_MAX:
        raise InvalidRequest(
            "FIELD_INVALID",
            f"note has {len(note)} characters; at most {NOTE_LENGTH_MAX} are allowed.",
            f"备注最多 {NOTE_LENGTH_MAX} 字。",
            violations=[FieldViolation("note", "TOO_LONG", f"at most {NOTE_LENGTH_MAX} characters", "过长")],
        )
    alert = alerts.get(alert_id)
    if alert is None:
        raise NotFound("ALERT_NOT_FOUND", "No alert has this alert_id.", "没有该告警。")
    if alert.status is AlertStatus.CLOSED:
        raise FailedPrecondition("ALERT_CLOSED", "The alert is closed: its cause is gone.", "告警已恢复，无需确认。")
    if alert.status is AlertStatus.ACKNOWLEDGED:
        if alert.acknowledged_by == person:
            return alert
        raise FailedPrecondition("ALERT_TAKEN", "Somebody else has acknowledged this alert.", "该告警已由他人确认。")
    acknowledged = replace(
        alert, status=AlertStatus.ACKNOWLEDGED, acknowledged_by=person, acknowledged_at=now, note=note
    )
    alerts.acknowledge(acknowledged)
    return acknowledged


def list_alerts(wanted: AlertFilter, page_size: int, alerts: AlertStore) -> tuple[list[Alert], bool]:
    """Return a page of alerts, newest first, and whether there are more."""
    found = alerts.list_newest(wanted, page_size + 1)
    return found[:page_size], len(found) > page_size


def claim_deliveries(
    alerts: AlertStore, now: datetime, lease: timedelta, limit: int, channels: Collection[Channel]
) -> list[PendingDelivery]:
    """Write down that delivery is about to be tried and return what to deliver; drop what no channel wants."""
    claimed = alerts.claim_deliveries(now, now + lease, limit)
    unwanted = {d.alert.alert_id for d in claimed if not channels_for(d.alert, channels)}
    if unwanted:
        alerts.drop_delivery(unwanted)
    return [delivery for delivery in claimed if delivery.alert.alert_id not in unwanted]


def channels_for(alert: Alert, channels: Collection[Channel]) -> list[Channel]:
    """Return the channels that must have this alert."""
    return [channel for channel in channels if alert.severity >= channel.severity_min]


def group_messages(
    claimed: Sequence[PendingDelivery], channels: Collection[Channel]
) -> list[tuple[Channel, list[Alert]]]:
    """Return what to send: per channel and rule one message, with the alerts which that channel has not confirmed."""
    groups: dict[tuple[str, str], tuple[Channel, list[Alert]]] = {}
    for delivery in claimed:
        for channel in channels_for(delivery.alert, channels):
            if channel.key not in delivery.confirmed:
                group = groups.setdefault((channel.key, delivery.alert.rule), (channel, []))
                group[1].append(delivery.alert)
    return list(groups.values())


def record_deliveries(
    outcomes: Sequence[tuple[PendingDelivery, frozenset[str]]],
    channels: Collection[Channel],
    alerts: AlertStore,
    now: datetime,
    backoff_max: timedelta,
) -> None:
    """Record which channels confirmed which alert; delivered only when every wanted channel did.

    Args:
        outcomes: each delivery with the keys of the channels that confirmed it now.
    """
    for delivery, confirmed_now in outcomes:
        alert = delivery.alert
        wanted = {channel.key for channel in channels_for(alert, channels)}
        if wanted <= delivery.confirmed | confirmed_now:
            alerts.finish_delivery(alert.alert_id, confirmed_now, now)
        else:
            pause = min(backoff_max, timedelta(seconds=2.0 ** min(alert.delivery_attempts - 1, 20)))
            alerts.record_delivery(alert.alert_id, confirmed_now, now, now + pause)
