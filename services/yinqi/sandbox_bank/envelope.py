"""Opening requests and sealing answers: canonical JSON, SM2 signature, SM4 envelope (contract §1, §2)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from yinqi.sandbox_bank import sm
from yinqi.sandbox_bank.clock import china_time
from yinqi.sandbox_bank.effects import Json, Message
from yinqi.sandbox_bank.errors import GatewayError
from yinqi.sandbox_bank.keys import KeyRing, UserKeys

PLACEHOLDER = "__signature_sigdat__"
_REQID = re.compile(r"[0-9]{17}[0-9A-Za-z]{1,34}")


def canonical(message: Json) -> bytes:
    """The bytes that are signed and sent."""
    return json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def padded_user_id(user_id: str) -> bytes:
    """SM2 ID and SM4 IV."""
    return user_id.encode("ascii").ljust(16, b"0")


def open_request(form: Mapping[str, str], keys: KeyRing) -> tuple[Message, bytes]:
    """Decrypt and verify one posted form; return the message, and the SM4 key it came under: its answer takes the same.

    Its signing time is for the bank to judge, whose clock may be off.

    Raises:
        GatewayError: any step fails; nothing is known about the sender then.
    """
    user_id, function = form.get("UID", ""), form.get("FUNCODE", "")
    if not user_id or not function or not form.get("DATA") or form.get("ALG") != "SM":
        raise GatewayError("FRM0001", "UID, FUNCODE, ALG=SM and DATA are needed 表单要素缺失", prefix="ErrMsg:")
    user = keys.of_user(user_id)
    message, sm4_key = _decrypt(form["DATA"], user, padded_user_id(user_id))
    head, body, signature = _parts(message)
    _verify(message, signature, user, padded_user_id(user_id))
    if head.get("funcode") != function or head.get("userid") != user_id:
        raise GatewayError(
            "FRM0001", "form and head name different users or functions 报文头与表单不符", prefix="ErrMsg:"
        )
    reqid = head.get("reqid")
    if not isinstance(reqid, str) or not _REQID.fullmatch(reqid):
        raise GatewayError("REQ0001", "reqid must be 17 digits of time and 1-34 letters or digits 请求号格式错误")
    # A sigtim that is no text cannot be within the hour.
    return Message(user_id, function, body, reqid, str(signature.get("sigtim")) or "missing"), sm4_key


def seal(
    member: str,
    content: Json,
    sm4_key: bytes,
    signer: tuple[bytes, bytes],
    signed_at_ms: int,
    user_id: str,
    *,
    spoil_signature: bool = False,
) -> bytes:
    """Sign and encrypt `content` under a top member (`response`, `notice`); the Base64 text that goes on the wire.

    Args:
        signer: private key (32 bytes) and public point (65 bytes).
    """
    plain = signed(member, content, signer, signed_at_ms, user_id, spoil_signature=spoil_signature)
    return base64.b64encode(sm.encrypt(sm4_key, padded_user_id(user_id), plain))


def signed(
    member: str,
    content: Json,
    signer: tuple[bytes, bytes],
    signed_at_ms: int,
    user_id: str,
    *,
    spoil_signature: bool = False,
) -> bytes:
    """Return `content` under a top member with the bank's signature in it, in canonical form."""
    signature = {"sigdat": PLACEHOLDER, "sigtim": china_time(signed_at_ms).strftime("%Y%m%d%H%M%S")}
    message = {member: content, "signature": signature}
    raw = sm.sign(*signer, canonical(message), padded_user_id(user_id))
    if spoil_signature:
        raw = raw[:-1] + bytes([raw[-1] ^ 1])
    signature["sigdat"] = base64.b64encode(raw).decode("ascii")
    return canonical(message)


def _decrypt(data: str, user: UserKeys, iv: bytes) -> tuple[Json, bytes]:
    for sm4_key in user.sm4_keys:
        try:
            plaintext = sm.decrypt(sm4_key, iv, base64.b64decode(data, validate=True))
            message = json.loads(plaintext.decode("utf-8"), object_pairs_hook=_no_twins, parse_constant=_no_constant)
            canonical(message)  # Lone surrogates cannot be signed; say so here rather than later.
        except (ValueError, RecursionError):
            continue
        if isinstance(message, dict):
            return message, sm4_key
    raise GatewayError("ENC0001", "DATA cannot be decrypted to a message 报文解密失败")


def _parts(message: Json) -> tuple[Json, Json, Json]:
    request, signature = message.get("request"), message.get("signature")
    head = request.get("head") if isinstance(request, dict) else None
    body = request.get("body") if isinstance(request, dict) else None
    if not isinstance(head, dict) or not isinstance(body, dict) or not isinstance(signature, dict):
        raise GatewayError("ENC0001", "request.head, request.body and signature are needed 报文结构错误")
    return head, body, signature


def _verify(message: Json, signature: Json, user: UserKeys, signer_id: bytes) -> None:
    try:
        raw = base64.b64decode(str(signature.get("sigdat")), validate=True)
    except ValueError:  # Not Base64, or not even ASCII.
        raw = b""
    signed = canonical({**message, "signature": {**signature, "sigdat": PLACEHOLDER}})
    if not any(sm.verifies(public_key, signed, raw, signer_id) for public_key in user.public_keys):
        raise GatewayError("SIG0001", "signature does not verify 验签失败")


def _no_twins(pairs: list[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
