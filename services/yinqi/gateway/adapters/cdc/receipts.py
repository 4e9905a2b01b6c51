"""DCSIGREC: electronic receipts, each signed by the bank for itself. Source: the contract's §5."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from yinqi.crypto import InvalidSignature, sm3
from yinqi.gateway.adapters.cdc.envelope import canonical, padded_user_id, parse_object, unsign
from yinqi.gateway.adapters.cdc.fields import Record, malformed, records
from yinqi.gateway.adapters.cdc.queries import refuse_failure
from yinqi.gateway.model import Receipt
from yinqi.gateway.open_keys import OpenKeys, RetiredKeyUsed
from yinqi.gateway.ports import BANK_KEY_RETIRED, Answer, AnswerUnusable

RECEIPTS = "DCSIGREC"
RECEIPTS_MAX = 100
_KINDS = ("PAY", "RET")


def receipt_body(instruction_ids: Sequence[str]) -> dict[str, Any]:
    """Return the body of DCSIGREC; its fields are in lower case."""
    return {"dcsigrecx1": [{"yurref": instruction_id} for instruction_id in instruction_ids]}


def read_receipts(answer: Answer, asked: Collection[str], user_id: str, keys: OpenKeys) -> list[Receipt]:
    """Return the receipts, the signature in each verified.

    Raises:
        AnswerUnusable: one is not the bank's, or is of something that was not asked for: none of them is kept.
    """
    refuse_failure(answer)
    if "dcsigrecz1" not in answer.body:
        raise malformed("dcsigrecz1")
    return [_receipt(record, asked, user_id, keys) for record in records(answer.body, "dcsigrecz1")]


def _receipt(record: Record, asked: Collection[str], user_id: str, keys: OpenKeys) -> Receipt:
    try:
        content = base64.b64decode(record.required("rcpfil"), validate=True)
        message = parse_object(content, "receipt")
        signed, signature = unsign(message)
    except (binascii.Error, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise malformed("dcsigrecz1.rcpfil") from None
    try:
        key_id = keys.verify(signed, signature, padded_user_id(user_id))
    except InvalidSignature:
        raise AnswerUnusable("BAD_SIGNATURE", "the bank's signature in a receipt does not fit") from None
    except RetiredKeyUsed as error:
        raise AnswerUnusable(BANK_KEY_RETIRED, f"a receipt is {error}") from None
    facts: Mapping[str, Any] = message["receipt"]
    named = tuple(record.required(name) for name in ("yurref", "rcpnbr", "rcptyp"))
    if canonical(message) != content or named != tuple(facts.get(name) for name in ("yurref", "rcpnbr", "rcptyp")):
        raise malformed("dcsigrecz1.rcpfil")
    instruction_id, number, kind = named
    if instruction_id not in asked or facts.get("userid") != user_id or kind not in _KINDS:
        raise malformed("dcsigrecz1.yurref")
    return Receipt(instruction_id, number, kind, content, sm3(content).hex(), key_id)
