"""A hostile insider owns the payment service: its database, its certificate, its program. The judge is the bank's own book.

What catches what: the last door of the gateway catches all of it, before a byte leaves, and raises an alert for each. The
audit (`yinqi audit verify`) catches edits of journals alone; most tables of `payment` are none, and an edit there that never
reaches the gateway moves nothing.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from attacks import EDITS, SEAL_TABLES, SEALS
from insider_house import Story, scenario, tables_of

from yinqi.demo.journals import export_services
from yinqi.payment.tables import metadata
from yinqi.runtime.journal.findings import FaultKind, Report
from yinqi.runtime.journal.keys import PublicKey
from yinqi.runtime.journal.verify import Copies, verify
from yinqi.runtime.settings import Settings


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """All attacks, once."""
    return asyncio.run(scenario(tmp_path_factory.mktemp("insider")))


def test_every_table_of_the_payment_service_is_attacked(story: Story) -> None:
    tables = tables_of(story.var_dir / "payment.db")
    assert tables >= set(metadata.tables)
    attacked = {edit.table for edit in story.tried if f" {edit.table} " in f"{edit.sql} "} | SEAL_TABLES
    assert attacked == tables, "a new table needs an attack in attacks.py"


def test_the_banks_book_holds_what_people_approved_and_nothing_else(story: Story) -> None:
    signed = {
        story.reference_of[key]: (line.instructed_amount.minor_units, line.creditor_account.identification)
        for key, line in story.approved.items()
    }
    assert story.debits == signed


def test_raw_sql_moves_no_money_and_each_edit_leaves_an_alert(story: Story) -> None:
    for number, edit in enumerate(story.tried):
        assert any(f"LAST_DOOR_{edit.door}/" in subject for subject in story.edits[number]), edit.sql
        assert story.statuses[number] not in ("PAYMENT_STATUS_PROCESSING", "PAYMENT_STATUS_SETTLED"), edit.sql
    assert len(story.tried) >= len(EDITS)


def test_a_patched_service_gets_nothing_out_and_each_try_leaves_an_alert(story: Story) -> None:
    assert len(story.calls) == 14
    for call, answer, alerts in story.calls:
        assert any(f"LAST_DOOR_{call.reason}/" in one for one in alerts), call.words
        # What went out before is answered as the record says: sent before, query it. Nothing leaves again.
        assert answer == ("ALREADY_SUBMITTED" if call.reason == "CONTENT_DIFFERS" else call.reason), call.words


def test_a_stolen_certificate_of_another_service_opens_nothing_and_is_an_alert(story: Story) -> None:
    assert set(story.stolen.values()) == {"PERMISSION_DENIED"}
    named = {(subject.split("/")[0], subject.split("/")[1]) for subject in story.denials}
    assert named == {(f"service {service}", method) for service, method in story.stolen}


def test_an_approver_who_lost_his_role_and_an_old_policy_count_for_nothing(story: Story) -> None:
    assert story.downgrade == ["APPROVALS_MISSING", "APPROVALS_MISSING", ""]
    assert story.policy_alerts > 0


def test_the_audit_names_the_edited_rows_of_the_journal_and_of_its_seals(story: Story, tmp_path: Path) -> None:
    report = audit(story.settings, tmp_path / "one.jsonl")
    changed = {fault.sequence for fault in report.faults if fault.kind is FaultKind.CHANGED}
    assert changed & set(story.edited_events)
    first = report.journals["payment.payment_events"].first_bad
    assert first is not None
    assert first.sequence == min(changed)
    gateway = next(one for name, one in report.journals.items() if name.startswith("gateway.gateway_notice_events"))
    assert gateway.first_bad is None, "the alerts' own journal is whole"
    copy = story.settings.model_copy(update={"var_dir": tmp_path})
    shutil.copytree(story.var_dir / "journal", tmp_path / "journal")
    for name in ("payment.db", "gateway.db"):
        shutil.copy(story.var_dir / name, tmp_path / name)
    with closing(sqlite3.connect(tmp_path / "payment.db")) as database, database:
        database.execute(SEALS)
    assert audit(copy, tmp_path / "two.jsonl").fault_count > report.fault_count


def audit(settings: Settings, file: Path) -> Report:
    """What `yinqi audit export` and `yinqi audit verify` do."""
    export_services(settings, ["payment", "gateway"], file, settle_s=0)
    keys = [PublicKey(one.read_bytes()) for one in sorted((settings.var_dir / "journal").glob("*.public.pem"))]
    with file.open("rb") as lines:
        return verify(lines, copies=Copies.read([settings.var_dir / "journal"], keys), keys=keys)
