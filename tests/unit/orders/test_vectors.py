"""The published vectors hold: with our code, with other people's cryptography, and no longer once a byte changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yinqi.orders.keys import DECISION_CONTEXT, ORDER_CONTEXT, Algorithm, PublicKey, Signed, verify_all
from yinqi.orders.line_tree import leaves_of, root_by_path, root_of
from yinqi.orders.order import OrderInvalid, digest_of, read_decision, read_order, require_lines
from yinqi.sandbox_bank import sm

CASES = json.loads((Path(__file__).parents[2] / "vectors" / "signed_orders" / "vectors.json").read_text("utf-8"))[
    "cases"
]


def unhex(case: dict[str, Any], field: str) -> bytes:
    return bytes.fromhex(case[field])


def order_of(case: dict[str, Any]) -> Signed:
    return Signed(unhex(case, "order"), case["key_id"], unhex(case, "signature"))


def keys_of(case: dict[str, Any]) -> dict[str, PublicKey]:
    return {case["key_id"]: PublicKey(Algorithm(case["algorithm"]), unhex(case, "public_key"))}


def lines_of(case: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(line) for line in case["lines"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_an_order_of_the_vectors_verifies_and_binds_its_lines(case: dict[str, Any]) -> None:
    signed = order_of(case)
    assert verify_all(ORDER_CONTEXT, [signed], keys_of(case)) == [True]
    order = read_order(signed)
    lines = lines_of(case)
    assert require_lines(order, lines) == [bytes.fromhex(leaf) for leaf in case["leaves"]]
    assert digest_of(signed.content).hex() == case["order_digest"]
    path = [(is_left, bytes.fromhex(digest)) for is_left, digest in case["path_of_last_line"]]
    assert root_by_path(lines[-1], path) == order.lines_root == root_of(leaves_of(lines))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_decision_of_the_vectors_verifies_and_names_the_order(case: dict[str, Any]) -> None:
    signed = Signed(unhex(case, "decision"), case["key_id"], unhex(case, "decision_signature"))
    assert verify_all(DECISION_CONTEXT, [signed], keys_of(case)) == [True]
    assert verify_all(ORDER_CONTEXT, [signed], keys_of(case)) == [False], "given for one purpose, none for another"
    assert read_decision(signed).order_digest.hex() == case["order_digest"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_other_peoples_cryptography_agrees(case: dict[str, Any]) -> None:
    message, raw, signature = ORDER_CONTEXT + unhex(case, "order"), unhex(case, "public_key"), order_of(case).signature
    if case["algorithm"] == "ED25519":
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    else:
        assert sm.verifies(raw, message, signature, b"1234567812345678")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_changed_byte_of_order_signature_and_lines_is_refused(case: dict[str, Any]) -> None:
    signed, keys = order_of(case), keys_of(case)
    forged = [signed._replace(content=changed) for changed in flipped(signed.content)]
    forged += [signed._replace(signature=changed) for changed in flipped(signed.signature)]
    assert not any(verify_all(ORDER_CONTEXT, forged, keys))
    order, lines = read_order(signed), lines_of(case)
    for number, line in enumerate(lines):
        for changed in flipped(line):
            with pytest.raises(OrderInvalid, match="LINES_NOT_SIGNED"):
                require_lines(order, [*lines[:number], changed, *lines[number + 1 :]])


@pytest.mark.parametrize("case", [one for one in CASES if len(one["lines"]) > 1], ids=lambda case: case["name"])
def test_lines_left_out_added_or_moved_are_refused(case: dict[str, Any]) -> None:
    order, lines = read_order(order_of(case)), lines_of(case)
    for wrong in ([], lines[:-1], [*lines, lines[-1]], [lines[1], lines[0], *lines[2:]]):
        with pytest.raises(OrderInvalid, match="LINES_NOT_SIGNED"):
            require_lines(order, wrong)


def flipped(content: bytes) -> list[bytes]:
    return [content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :] for at in range(len(content))]
