"""The demo as a newcomer runs it: real processes, real files, a bank that misbehaves, and the bank's own book as the judge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from yinqi.runtime.listening import free_port

PORTS = ("payment", "account", "reconciliation", "monitoring", "gateway", "sandbox_bank", "console")
pytestmark = pytest.mark.system


def run_demo(folder: Path, *options: str) -> tuple[int, dict, str]:
    """Run the command in a folder of its own, on free ports; return exit code, report and what it printed."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("YINQI_")},  # noqa: TID251 (PATH and the like)
        "YINQI_VAR_DIR": str(folder),
        "COLUMNS": "140",
        **{f"YINQI_{name.upper()}_PORT": str(free_port()) for name in PORTS},
    }
    done = subprocess.run(
        [sys.executable, "-m", "yinqi.cli", "demo", *options], env=env, capture_output=True, text=True, timeout=500
    )
    report = folder / "demo" / "report.json"
    found = json.loads(report.read_text("utf-8")) if report.exists() else {}
    return done.returncode, found, done.stdout + done.stderr


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict, str]:
    return run_demo(tmp_path_factory.mktemp("calm"))


@pytest.mark.timeout(600)
def test_the_demo_ends_well(calm) -> None:
    code, report, text = calm
    assert report, text
    assert all(report["verdict"]["holds"].values()), text
    assert code == 0, text


@pytest.mark.timeout(600)
def test_nothing_is_sent_twice_and_nothing_is_lost(calm) -> None:
    _, report, _ = calm
    assert report["sent_twice"] == 0
    assert report["lost"] == 0
    assert report["payments"]["open"] == []


@pytest.mark.timeout(600)
def test_ten_broken_lines_of_each_list_are_refused_and_the_others_go_on(calm) -> None:
    _, report, _ = calm
    lists = [f for f in report["files"] if f["file"].startswith("suppliers")]
    assert [(f["lines"], f["recorded"], len(f["refused"])) for f in lists] == [(400, 390, 10)] * 2
    for file in lists:
        assert len({(r["field"], r["reason"]) for r in file["refused"]}) == 10
        assert all(r["line"] and r["message"] and r["message_zh"] for r in file["refused"])


@pytest.mark.timeout(600)
def test_the_bank_was_a_bank(calm) -> None:
    _, report, _ = calm
    by_status = report["payments"]["by_status"]
    assert by_status["RETURNED"] == 2
    assert by_status["REJECTED"] >= 4
    assert report["alerts"]["by_rule"]["payment_unknown_too_long"] >= 1
    assert report["alerts"]["by_rule"]["payment_returned"] == 2
    assert set(report["breaks"]) == {"BANK_DEBIT_NOT_IN_BOOKS", "BANK_CREDIT_NOT_IN_BOOKS"}
    assert report["alerts"]["received_by_webhook"] == report["alerts"]["raised"]


@pytest.mark.timeout(600)
def test_people_approve_and_a_thief_finds_the_last_door_shut(calm) -> None:
    _, report, text = calm
    assert report["approvals"]["orders_signed"] == len(report["files"])
    assert report["approvals"]["decisions"] >= 6, text
    assert report["last_door"] == {
        "attempts": 3,
        "stopped": 3,
        "by_reason": {"APPROVALS_MISSING": 1, "LINE_NOT_SIGNED": 1, "ORDER_MISSING": 1},
    }
    assert report["alerts"]["by_rule"]["last_door_shut"] == 3


@pytest.mark.timeout(600)
def test_every_payment_has_one_connected_story(calm) -> None:
    _, report, _ = calm
    assert report["traces"]["connected_traces"] == report["traces"]["payments"] == report["payments"]["accepted"]
    assert report["traces"]["orphan_spans"] == 0


@pytest.mark.timeout(600)
def test_every_journal_is_as_it_was_sealed(calm) -> None:
    _, report, _ = calm
    journals = report["journals"]
    assert journals["is_good"], journals["faults"]
    assert len({one["journal"].partition(".")[0] for one in journals["journals"] if one["rows"]}) == 5
    assert all(one["outside_position"] == one["rows"] for one in journals["journals"])


@pytest.mark.timeout(600)
def test_killing_each_process_in_turn_changes_no_total(calm, tmp_path: Path) -> None:
    code, killed, text = run_demo(tmp_path, "--kill")
    assert code == 0, text
    assert sorted(killed["killed"]) == sorted(
        ["payment", "account", "reconciliation", "monitoring", "gateway", "sandbox_bank"]
    )
    _, report, _ = calm
    for figure in ("sent_twice", "lost", "refused_lines", "breaks"):
        assert killed[figure] == report[figure], figure
    assert killed["payments"] == report["payments"]
    assert killed["matches"] == report["matches"]
