"""Canonical form, signature and seal of `cdc` messages. Source: docs/bank-dialect-cdc.md §1, §2."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, NoReturn

from yinqi.crypto import CryptoError, InvalidSignature, sign_then_seal, sm4_cbc_decrypt
from yinqi.gateway.open_keys import CipherUse, OpenKeys, RetiredKeyUsed
from yinqi.gateway.ports import BANK_KEY_RETIRED, Answer, AnswerUnusable, Outgoing, WireAnswer
from yinqi.kernel.clock import BANK_ZONE

PLACEHOLDER = "__signature_sigdat__"
SIGNATURE_WINDOW = timedelta(hours=1)  # the bank's; a profile may set another
_GATEWAY_ERRORS = (b"CDCServer:", b"ErrMsg:")
_TEXT_SHOWN_MAX = 200


class Number(str):
    """A JSON number as it was written; only the reader of amounts takes it."""

    __slots__ = ()


def padded_user_id(user_id: str) -> bytes:
    """Return the 16 bytes that are both SM2 identity and SM4 IV.

    The IV is static because the bank demands it; nothing but this dialect may use the key.
    """
    return user_id.encode("ascii").ljust(16, b"0")


def canonical(message: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed: keys sorted, no blanks between tokens, blanks and non-ASCII in values kept."""
    text = json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def seal(
    function: str, message_id: str, body: Mapping[str, Any], user_id: str, keys: OpenKeys, now: datetime
) -> tuple[bytes, bytes]:
    """Return (signed message, form body) of a request."""
    identity = padded_user_id(user_id)
    signature = {"sigdat": PLACEHOLDER, "sigtim": now.astimezone(BANK_ZONE).strftime("%Y%m%d%H%M%S")}
    head = {"funcode": function, "reqid": message_id, "userid": user_id}
    message = {"request": {"body": body, "head": head}, "signature": signature}
    # The signature is the last member of the canonical form: the last match is the placeholder, never a text of a payment.
    plain, sealed = sign_then_seal(
        canonical(message),
        PLACEHOLDER.encode("ascii"),
        signer=keys.signing.key,
        identity=identity,
        sm4_key=keys.ciphers[0].key,
        iv=identity,
    )
    return plain, _form(user_id, function, sealed)


def _form(user_id: str, function: str, sealed: bytes) -> bytes:
    # Base64 has three characters that a form must escape; the general escaper walks byte by byte (40 ms per batch).
    data = sealed.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")
    return f"UID={user_id}&FUNCODE={function}&ALG=SM&DATA=".encode("ascii") + data


def open_answer(
    wire: WireAnswer,
    outgoing: Outgoing,
    user_id: str,
    keys: OpenKeys,
    now: datetime,
    window: timedelta = SIGNATURE_WINDOW,
) -> Answer:
    """Return the verified answer to `outgoing`.

    Raises:
        AnswerUnusable: any step failed, in the order of §1 and §2. It is no answer then, never a "no".
    """
    _refuse_errors(wire)
    try:
        sealed = base64.b64decode(wire.body.strip(), validate=True)
    except binascii.Error:
        sealed = b""
    opened = opened_by(keys.ciphers_for(outgoing.sealed_with), sealed, user_id, "response")
    if opened.message is None:
        text = (
            "the decrypted answer is not a signed message"
            if opened.plain
            else "the answer cannot be decrypted with our key"
        )
        raise AnswerUnusable("ANSWER_UNREADABLE", text, plain=opened.plain)
    plain = opened.plain
    signed, sigdat = opened.message
    try:
        key_id = keys.verify(signed, sigdat, padded_user_id(user_id))
    except InvalidSignature:
        raise AnswerUnusable("BAD_SIGNATURE", "the bank's signature does not fit", plain=plain) from None
    except RetiredKeyUsed as error:
        raise AnswerUnusable(BANK_KEY_RETIRED, f"the bank {error}", plain=plain) from None
    # From here on only what was signed is read, with numbers as they were written.
    trusted = json.loads(signed, parse_float=Number, parse_int=Number)
    check_signing_time(trusted["signature"].get("sigtim"), now, window, plain)
    answer = _answer(trusted["response"], outgoing, user_id, plain)
    return replace(answer, key_id=key_id, cipher_key_id=opened.cipher_key_id)


def _refuse_errors(wire: WireAnswer) -> None:
    text = wire.body[: _TEXT_SHOWN_MAX * 4].decode("utf-8", "replace")[:_TEXT_SHOWN_MAX].strip()
    if wire.status != 200:
        raise AnswerUnusable("HTTP_ERROR", text, code=str(wire.status))
    if wire.body.startswith(_GATEWAY_ERRORS):
        code = text.partition(":")[2].partition(" ")[0]
        raise AnswerUnusable("GATEWAY_ERROR", text, code=code)


class Opened(NamedTuple):
    """What came of decrypting. `message`: the signed bytes and the signature; None: it is no signed message."""

    plain: bytes
    message: tuple[bytes, bytes] | None
    cipher_key_id: str


def opened_by(ciphers: Sequence[CipherUse], sealed: bytes, user_id: str, top: str) -> Opened:
    """Decrypt with the first key that gives a signed message; one in 256 wrong keys gives some text, too."""
    found = Opened(b"", None, "")
    for key_id, key in ciphers:
        try:
            plain = sm4_cbc_decrypt(key, padded_user_id(user_id), sealed)
        except CryptoError:
            continue
        try:
            return Opened(plain, unsign(parse_object(plain, top)), key_id)
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            found = found if found.plain else Opened(plain, None, key_id)
    return found


def parse_object(plain: bytes, top: str) -> dict[str, Any]:
    """Read a message whose top member is `top`: an answer never passes for a notice, nor a notice for an answer."""
    message = json.loads(plain.decode("utf-8"), object_pairs_hook=_no_twins, parse_constant=_no_constant)
    if not isinstance(message, dict) or not isinstance(message.get(top), dict):
        raise ValueError(f"no {top}")
    return message


def unsign(message: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return (the signed bytes, the signature)."""
    signature = message["signature"]
    sigdat = base64.b64decode(signature["sigdat"], validate=True)
    signed = canonical({**message, "signature": {**signature, "sigdat": PLACEHOLDER}})
    return signed, sigdat


def check_signing_time(sigtim: object, now: datetime, window: timedelta, plain: bytes) -> None:
    """Raise `AnswerUnusable` (SIGTIM_OUTSIDE_WINDOW) unless a message was signed within the window around now."""
    try:
        signed_at = datetime.strptime(str(sigtim), "%Y%m%d%H%M%S").replace(tzinfo=BANK_ZONE)
    except ValueError:
        raise AnswerUnusable("SIGTIM_OUTSIDE_WINDOW", "sigtim is not a time", plain=plain) from None
    if abs(signed_at - now) > window:
        raise AnswerUnusable("SIGTIM_OUTSIDE_WINDOW", f"the answer was signed more than {window} off", plain=plain)


def _answer(response: dict[str, Any], outgoing: Outgoing, user_id: str, plain: bytes) -> Answer:
    head, body = response.get("head"), response.get("body")
    if not isinstance(head, dict) or not isinstance(body, dict):
        raise AnswerUnusable("ANSWER_MALFORMED", "head or body is missing", plain=plain)
    mirrored = (head.get("reqid"), head.get("funcode"), head.get("userid"))
    if mirrored != (outgoing.message_id, outgoing.function, user_id):
        raise AnswerUnusable("REQID_MISMATCH", "the answer belongs to another request", plain=plain)
    code, text = head.get("resultcode"), head.get("resultmsg", "")
    if not isinstance(code, str) or not isinstance(text, str) or not code.rstrip(" "):
        raise AnswerUnusable("ANSWER_MALFORMED", "resultcode is missing", plain=plain)
    return Answer(plain=plain, result_code=code.rstrip(" "), result_text=text.rstrip(" "), body=body)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
