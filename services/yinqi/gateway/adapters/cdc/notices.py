"""BBNOTICE: what the bank tells without being asked, opened and verified. Source: docs/bank-dialect-cdc.md, "Notices"."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from yinqi.crypto import InvalidSignature
from yinqi.gateway.adapters.cdc.envelope import (
    Number,
    canonical,
    check_signing_time,
    opened_by,
    padded_user_id,
)
from yinqi.gateway.adapters.cdc.queries import read_records
from yinqi.gateway.model import Notice
from yinqi.gateway.open_keys import OpenKeys, RetiredKeyUsed
from yinqi.gateway.ports import BANK_KEY_RETIRED, AnswerUnusable, NoticeRefused
from yinqi.gateway.profile import Profile

FUNCTION = "BBNOTICE"
PAYMENTS = "YQN02030"
ACKNOWLEDGED = b"SUC0000"
_FORM = frozenset({"UID", "FUNCODE", "ALG", "DATA"})
_NUMBER = re.compile(r"[0-9]{15}")
_TYPE = re.compile(r"[0-9A-Z]{1,16}")
_RECORDS_MAX = 50


def open_notice(
    content: bytes, profile: Profile, keys: OpenKeys, currencies: Mapping[str, str], now: datetime
) -> Notice:
    """Return the verified notice in a form's bytes.

    Raises:
        NoticeRefused: any step failed; nothing in it may be believed.
    """
    opened = opened_by(keys.ciphers, _sealed(content, profile), profile.user_id, "notice")
    plain = opened.plain
    if opened.message is None:
        raise NoticeRefused("NOTICE_UNREADABLE", plain)
    signed, sigdat = opened.message
    identity = profile.notices.identity.encode("ascii") or padded_user_id(profile.user_id)
    try:
        key_id = keys.verify(signed, sigdat, identity)
    except InvalidSignature:
        raise NoticeRefused("BAD_SIGNATURE", plain) from None
    except RetiredKeyUsed:
        raise NoticeRefused(BANK_KEY_RETIRED, plain) from None
    trusted = json.loads(signed, parse_float=Number, parse_int=Number)
    try:
        window = timedelta(seconds=profile.crypto.signature_window_s)
        check_signing_time(trusted["signature"].get("sigtim"), now, window, plain)
    except AnswerUnusable as error:
        raise NoticeRefused(error.reason, plain) from None
    notice = _read(trusted["notice"], profile, currencies, plain, sigdat)
    return replace(notice, key_id=key_id, cipher_key_id=opened.cipher_key_id)


def _sealed(content: bytes, profile: Profile) -> bytes:
    try:
        form = dict(urllib.parse.parse_qsl(content.decode("ascii"), strict_parsing=True, max_num_fields=8))
        if not form.keys() >= _FORM or form["FUNCODE"] != FUNCTION or form["ALG"] != "SM":
            raise NoticeRefused("NOTICE_UNREADABLE")
        if form["UID"] != profile.user_id:
            raise NoticeRefused("USER_UNKNOWN")
        return base64.b64decode(form["DATA"], validate=True)
    except (ValueError, binascii.Error):
        raise NoticeRefused("NOTICE_UNREADABLE") from None


def _read(
    notice: Mapping[str, Any], profile: Profile, currencies: Mapping[str, str], plain: bytes, sigdat: bytes
) -> Notice:
    head, body = notice.get("head"), notice.get("body")
    if not isinstance(head, dict) or not isinstance(body, dict):
        raise NoticeRefused("NOTICE_MALFORMED", plain)
    number, kind = head.get("notnbr"), head.get("nottyp")
    if (head.get("funcode"), head.get("userid")) != (FUNCTION, profile.user_id):
        raise NoticeRefused("USER_UNKNOWN", plain)
    if not isinstance(number, str) or not isinstance(kind, str) or isinstance(number, Number):
        raise NoticeRefused("NOTICE_MALFORMED", plain)
    if not _NUMBER.fullmatch(number) or not _TYPE.fullmatch(kind):
        raise NoticeRefused("NOTICE_MALFORMED", plain)
    counts = kind == PAYMENTS and kind in profile.notices.types
    try:
        records = tuple(read_records(body, "bbnoticez1", profile, currencies)) if counts else ()
    except AnswerUnusable:
        raise NoticeRefused("NOTICE_MALFORMED", plain) from None
    if len(records) > _RECORDS_MAX:
        raise NoticeRefused("NOTICE_MALFORMED", plain)
    content = canonical({"head": head, "body": body})
    digests = (hashlib.sha256(one).hexdigest() for one in (content, sigdat))
    return Notice(number, kind, records, next(digests), next(digests), plain)
