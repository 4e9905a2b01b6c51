"""What docs/sandbox-bank.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import BankThread

DOCUMENT = Path(__file__).parents[3] / "docs" / "sandbox-bank.md"


def test_the_client_of_the_manual_gets_its_answer(bank: BankThread, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    for shown, here in (("http://127.0.0.1:7106", bank.url), ("var/bank_keys", str(bank.directory / "keys"))):
        assert shown in program
        program = program.replace(shown, here)
    exec(compile(program, "sandbox-bank.md", "exec"), {"__name__": "manual"})
    assert "755915678910001" in capsys.readouterr().out
