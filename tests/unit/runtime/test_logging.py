"""Nothing that identifies a person or an account reaches a log."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from yinqi.runtime.logging import configure_logging, mask_text, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("account 6222020200112233445 refused", "account ****3445 refused"),
        ("6222 0202 0011 2233 445", "****3445"),
        ("IBAN DE89370400440532013000", "IBAN ****3000"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN ****3000"),
        ("postgresql://yinqi:hunter2@db/x", "postgresql://yinqi:****@db/x"),
        ("took 12345 ms on 2026-11-22", "took 12345 ms on 2026-11-22"),
        ("card6222020200112233445", "card****3445"),
        ("at 2026-11-22 13:18:02", "at 2026-11-22 13:18:02"),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("PI019A5B3C4D5E0123456789AB", "PI019A5B3C4D5E0123456789AB"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_account_numbers_and_passwords_are_masked_in_texts(text: str, shown: str) -> None:
    assert mask_text(text) == shown


def test_named_fields_are_masked_whatever_they_hold() -> None:
    event = redact(
        None,
        "info",
        {
            "event": "sent",
            "creditor_name": "张三",
            "creditor_account": "622202020011",
            "nested": {"debtor_name": "ACME Ltd", "amount": 5},
            "lines": [{"account_number": "6222020200112233445"}],
            "key": b"\x01" * 32,
            "count": 7,
            "number": 6222020200112233445,
            "trace_id": "1" * 32,
        },
    )
    shown = json.dumps(event, ensure_ascii=False, default=str)
    assert not any(secret in shown for secret in ("张三", "622202", "ACME", "\\x01"))
    assert event["count"] == 7
    assert event["nested"]["amount"] == 5
    assert event["key"] == "<32 bytes>"
    assert event["trace_id"] == "1" * 32


def test_exceptions_are_masked_too_and_every_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("payment")
    try:
        raise KeyError("6222020200112233445")
    except KeyError as error:
        structlog.get_logger("x").error("failed", exc_info=error)
    logging.getLogger("other").warning("library says %s", "6222020200112233445")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [json.loads(line) for line in err.splitlines()]
    assert "6222020200112233445" not in err
    assert [line["event"] for line in lines] == ["failed", "library says ****3445"]
    assert all(line["service"] == "payment" and line["timestamp"] for line in lines)
    assert "KeyError" in lines[0]["exception"]
