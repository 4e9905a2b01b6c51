"""`yinqi bank`: profiles in words, faults by line, and which way an amount would take."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from yinqi import gateway as gateway_package
from yinqi.cli import app

STRICT = Path(gateway_package.__file__).parent / "profiles" / "examples" / "strict_bank.toml"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bank", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("amount", "at", "says"),
    [
        ("60000", "2026-02-17T10:00", "│ SMART          │ SMALL_VALUE"),
        ("1,000,000.01", "2026-02-17T10:00", "opens 2026-02-24 08:30"),
        ("1000000.01", "2026-03-02T10:00", "│ SMART          │ LARGE_VALUE"),
    ],
)
def test_check_says_which_channel_an_amount_takes(amount: str, at: str, says: str) -> None:
    code, output = run("check", "strict_bank", "--amount", amount, "--at", at)
    assert code == 0
    assert says in output
    assert "6229…0001" in output
    assert "622900000000000001" not in output


def test_check_names_every_fault_by_line_and_fails(tmp_path: Path) -> None:
    text = STRICT.read_text("utf-8").replace("lines_max = 30", "lines_max = 0").replace("08:30:00", "18:30:00")
    file = tmp_path / "mine.toml"
    file.write_text(text, "utf-8")
    code, output = run("check", str(file))
    assert code == 1
    assert f"line {text.splitlines().index('lines_max = 0') + 1}, batch.lines_max" in output
    assert "channel_rules.LARGE_VALUE.cut_off" in output


def test_check_and_show_look_at_all_profiles_without_a_name() -> None:
    assert "demo_bank" in run("check")[1]
    code, output = run("show")
    assert code == 0
    assert "demo_bank" in output
    assert "safe window" in run("show", "strict_bank")[1]


@pytest.mark.parametrize(
    "arguments", [["check", "no_such_bank"], ["check", "demo_bank", "--amount", "-1"], ["check", "--at", "soon"]]
)
def test_a_wrong_question_is_answered_in_words(arguments: list[str]) -> None:
    code, output = run(*arguments)
    assert code not in (0, 1) or "no_such_bank" in output or "amount" in output or "--at" in output
    assert "Traceback" not in output
