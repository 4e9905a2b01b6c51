"""Some things may be done in one place only; here the source itself is read."""

from __future__ import annotations

import ast
from pathlib import Path

import yinqi.payment

SOURCES = {path.name: path.read_text("utf-8") for path in Path(yinqi.payment.__path__[0]).glob("*.py")}


def users_of(attribute: str) -> set[str]:
    """Files that read `….<attribute>`, beyond its definition."""
    return {
        name
        for name, source in SOURCES.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr == attribute
    }


def test_a_payment_is_resent_in_one_use_case_only():
    assert users_of("RESEND") == {"status.py", "use_cases.py"}
    uses = SOURCES["use_cases.py"].count("StatusEvent.RESEND")
    body = SOURCES["use_cases.py"].partition("def resend_payments")[2].partition("\ndef ")[0]
    assert body.count("StatusEvent.RESEND") == uses > 0


def test_permits_are_made_from_evidence_only():
    assert users_of("__new__") == {"resend.py"}
    assert users_of("from_evidence") == {"use_cases.py"}


def test_the_rules_know_no_framework_and_no_clock():
    for name in (
        "status.py",
        "model.py",
        "rules.py",
        "decisions.py",
        "resend.py",
        "doubts.py",
        "ports.py",
        "use_cases.py",
        "doubt_use_cases.py",
    ):
        imported = {
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
            for node in ast.walk(ast.parse(SOURCES[name]))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        for module in imported:
            assert module.split(".")[0] not in ("grpc", "google", "sqlalchemy", "opentelemetry", "os", "time"), name
            assert not module.startswith(("yinqi.api", "yinqi.runtime", "yinqi.crypto")), name
        assert ".now(" not in SOURCES[name]
        assert ".today(" not in SOURCES[name]
