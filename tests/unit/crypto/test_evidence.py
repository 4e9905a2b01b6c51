"""The evidence that can be printed holds in its short form (`cargo test` runs the timing and the parsers)."""

from __future__ import annotations

import shutil

import pytest
from tests.evidence import __main__ as evidence
from tests.evidence import crypto

needs_cargo = pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind (Debian package valgrind)")


@needs_cargo
@needs_valgrind
def test_no_branch_and_no_address_of_the_portable_tier_depends_on_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    crypto.memory(short=True)
    printed = capsys.readouterr().out
    assert "valgrind: true" in printed
    assert "portable tier" in printed
    assert "planted branch" in printed


def test_an_unknown_part_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evidence.main(["tmining"])
    assert "timing, memory, parsers" in capsys.readouterr().err


def test_a_part_that_does_not_hold_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(short: bool) -> None:
        raise AssertionError("7 of 8")

    monkeypatch.setitem(evidence.PARTS, "timing", fails)
    monkeypatch.setitem(evidence.PARTS, "parsers", lambda short: None)
    assert evidence.main(["--short", "timing", "parsers"]) == 1
    printed = capsys.readouterr().out
    assert "timing did not hold: 7 of 8" in printed
    assert "failed: timing" in printed
    assert evidence.main(["parsers"]) == 0
