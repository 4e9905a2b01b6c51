"""The bank's own command line: check, faults, fired, judge, load, clock."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from yinqi.sandbox_bank.fault_catalog import FAULTS
from yinqi.sandbox_bank.main import app

from .conftest import BankThread
from .test_payments import single
from .wire_client import WireClient

WRONG = """\
seed = 1

[[rule]]                     # line 3
name = "busy"
when = { function = "BB1PAYQR", tim = "22:00-02:00" }
slow = true

[[rule]]
slow = { milliseconds = -4 }
[[rule]]
name = "both"
slow = true
refuse = true

[[rule]]
every = 2
[rule.when]
time = "25:00-26:00"
[rule.maintenance]
[[entry]]
account = "1"
amount = "5"
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def test_check_names_line_rule_field_and_what_is_allowed_for_every_wrong_rule(tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text(WRONG, "utf-8")
    result = run("check", str(script))
    assert result.exit_code == 1
    found = [line.removeprefix(f"{script}: ") for line in result.stderr.splitlines()]
    assert [re.match(r"line \d+: [^:]+: \S+", one)[0] for one in found if "line" in one] == [  # type: ignore[index]
        "line 5: busy: when.tim",
        "line 9: rule 2: slow.milliseconds",
        "line 12: both: slow",
        "line 18: rule 4: when.time",
        "line 22: entry 1: amount",
    ]
    assert "allowed: reference, batch_number" in found[0]
    assert "0 to 1000000000" in found[1]
    assert '"22:00-02:00"' in found[3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[rule]]\nslow = ", "line 2: the script: is neither TOML nor JSON"),
        ("seed = -1", "line 1: the script: seed must be a whole number"),
        ("[rule]\nslow = true", "line 1: the script: rule must be written as [[rule]]"),
        ("[[rule]]\nwhen = { chance = nan }\nslow = true", "line 2: rule 1: when.chance"),
        ("[[rule]]\nwhen = { account = '1', debtor_account = '1' }\nslow = true", "are the same; give one"),
        ("[[rule]]\nwhen = { reference = 7 }\nslow = true", "line 2: rule 1: when.reference must be a text"),
        ("[[rule]]\nwhen = { elapsed_min = inf }\nslow = true", "line 2: rule 1: when.elapsed_min"),
        ("[[rule]]\nreturn = { after_days = 99999 }", "line 2: rule 1: return.after_days"),
        ("[[rule]]\nunbalanced = { amount = 1 }", "line 2: rule 1: unbalanced.amount must be a text"),
        ("[[rule]]\nlose_notice = true\nslow = true", "faults of messages and notices do not mix"),
        ("[[rule]]\nslow = 5", "line 2: rule 1: slow must be true or a table"),
        ('{"rule": [{"slow": {"milliseconds": "5"}}]}', "rule 1: slow.milliseconds must be a whole number"),
    ],
)
def test_check_says_in_words_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    script = tmp_path / "faults.toml"
    script.write_text(text, "utf-8")
    result = run("check", str(script))
    assert (result.exit_code, words in result.stderr) == (1, True), result.stderr


def test_check_is_content_with_a_sound_script_and_says_when_there_is_none(tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text("[[rule]]\nslow = true", "utf-8")
    assert run("check", str(script)).exit_code == 0
    assert run("check", str(tmp_path / "none.toml")).exit_code == 2


def test_faults_lists_every_fault_with_its_fields_and_an_example() -> None:
    text = run("faults").stdout
    for name, fault in FAULTS.items():
        assert name in text
        assert all(field in text for field in fault.fields)
    (one,) = json.loads(run("faults", "return", "--json").stdout)
    assert set(one["fields"]) == {"after_days", "code", "text"}
    assert one["example"].startswith("[[rule]]")
    assert run("faults", "nonsense").exit_code == 1


def test_a_running_bank_is_asked_and_told_by_commands(bank: BankThread, client: WireClient, tmp_path: Path) -> None:
    here = ("--address", f"127.0.0.1:{bank.port}")
    script = tmp_path / "faults.toml"
    script.write_text('[[rule]]\nname = "twice"\nwhen = { reference = "R2" }\naccept_duplicate = true', "utf-8")
    assert run("load", str(script), *here).exit_code == 0
    for reference in ("R1", "R2"):
        client.call("BB1PAYOP", single(reference))
    bank.until_executed()
    judged = run("judge", *here)
    assert judged.exit_code == 0
    assert "double debits 重复扣款: 0" in judged.stdout
    client.call("BB1PAYOP", single("R2"))
    client.call("BB1PAYOP", single("BAD", crtAcc=""))
    bank.until_executed()
    judged = run("judge", "--limit", "1", *here)
    assert judged.exit_code == 1
    assert "DOUBLE DEBIT" in judged.stdout
    assert "never debited" in judged.stdout
    report = json.loads(run("judge", "--json", *here).stdout)
    assert (report["double_debited_references"], report["never_debited_references"]) == (["R2"], ["BAD"])
    assert "twice" in run("fired", *here).stdout
    assert json.loads(run("fired", "--json", *here).stdout)["counts"] == {"accept_duplicate": 1}

    assert json.loads(run("clock", "freeze", "--json", *here).stdout)["frozen"]
    jumped = json.loads(run("clock", "jump", "--days", "2", "--json", *here).stdout)
    assert "running at 60" in run("clock", "run", "--rate", "60", *here).stdout
    assert jumped["business_date"] in run("clock", "show", *here).stdout


def test_what_the_bank_refuses_and_a_bank_that_is_away_are_said_in_words(bank: BankThread, tmp_path: Path) -> None:
    here = ("--address", f"127.0.0.1:{bank.port}")
    refused = run("clock", "jump", "--to", "2001-01-01T00:00:00", *here)
    assert refused.exit_code == 1
    assert "jump_to must lie ahead" in refused.stderr
    away = run("judge", "--address", "127.0.0.1:1")
    assert away.exit_code == 5
    assert "no sandbox bank answers" in away.stderr
