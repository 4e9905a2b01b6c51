"""Logs: JSON for machines, lines for people; the trace id on every line; account numbers and names masked."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog
from opentelemetry import trace

# Fields that hold a person's or company's name, an account or a secret, whatever their content looks like.
_MASKED_FIELDS: Final = frozenset(
    {
        "name",
        "debtor_name",
        "creditor_name",
        "account_name",
        "account",
        "account_number",
        "debtor_account",
        "creditor_account",
        "iban",
        "remittance_information",
        "taxpayer_id",
        "phone",
        "password",
        "secret",
        "token",
        "private_key",
        "signature",
    }
)
# Accounts, cards, identity and taxpayer numbers: 12 digits or more anywhere, 9 to 11 unless part of a longer hex id,
# and groups of digits as people write them. Dates and times have shorter groups.
_DIGIT_RUN = re.compile(
    r"\d{12,}|(?<![0-9A-Fa-f])\d{9,11}(?![0-9A-Fa-f])|(?<![0-9A-Fa-f-])\d{3,6}(?:[ -]\d{3,6}){2,}(?![0-9A-Fa-f-])"
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_PASSWORD_IN_URL = re.compile(r"(://[^:/@\s]+):[^@/\s]+@")
_KEPT: Final = frozenset({"timestamp", "trace_id", "span_id", "event_id", "reference", "level", "logger"})
_DEPTH_MAX = 6


def mask_number(number: str) -> str:
    """Return the number with all but its last four characters hidden."""
    number = number.replace(" ", "").replace("-", "")
    return f"****{number[-4:]}" if len(number) > 8 else "****"


def _mask_iban(found: re.Match[str]) -> str:
    """Mask what is an IBAN by its check digits (ISO 13616: mod 97 = 1); our own ids look like one and are kept."""
    plain = found.group().replace(" ", "")
    number = int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4]))
    return mask_number(plain) if number % 97 == 1 else found.group()


def mask_text(text: str) -> str:
    """Return a text with account numbers, IBANs and passwords in URLs hidden."""
    text = _IBAN.sub(_mask_iban, text)
    text = _DIGIT_RUN.sub(lambda found: mask_number(found.group()), text)
    return _PASSWORD_IN_URL.sub(r"\1:****@", text)


def _mask(key: str, value: Any, depth: int = 0) -> Any:
    if key in _MASKED_FIELDS and value is not None:
        return mask_number(str(value)) if str(value).isascii() else "****"
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth >= _DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        return {str(k): _mask(str(k), v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask(key, item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return (
            value if abs(value) < 10**12 or key.endswith(("_ns", "_ms", "_us", "sequence")) else mask_text(str(value))
        )
    return mask_text(str(value))


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask every field of a log event (structlog processor)."""
    for key, value in event.items():
        if key not in _KEPT:
            event[key] = _mask(key, value)
    return event


def _add_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event


def configure_logging(service_name: str, *, level: str = "INFO", format_: str = "json") -> None:
    """Set up structlog and the standard library's logging for this process, to standard error.

    Args:
        format_: "json", or "console" for people.
    """

    def add_service(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service_name)
        return event

    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        add_service,
        _add_trace,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if format_ == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Chatty at INFO, and they know nothing of masking: a request line may hold an account number.
    for noisy in ("httpx", "httpcore", "alembic", "sqlalchemy", "uvicorn.access", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
