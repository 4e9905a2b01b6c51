"""A company's side of the cdc dialect written from docs/bank-dialect-cdc.md alone, on another crypto library."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import secrets
import time
from pathlib import Path
from typing import Any

import httpx

from yinqi import crypto

USER_ID = "U123456789"
PLACEHOLDER = "__signature_sigdat__"
CHINA = dt.timezone(dt.timedelta(hours=8))


class GatewayAnswer(Exception):
    """The bank answered in plain text or with an HTTP error."""


class BadAnswer(Exception):
    """The answer cannot be trusted."""


def canonical(message: dict[str, Any]) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class WireClient:
    def __init__(self, base_url: str, keys_dir: Path) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=30, trust_env=False)
        self.keys_dir = keys_dir
        self.new_signing_key()
        self.sm4_key = secrets.token_bytes(16)
        self.padded = USER_ID.encode().ljust(16, b"0")
        self._reqids = itertools.count(1)

    def new_signing_key(self) -> None:
        self.private_key = crypto.SigningKey.generate()
        self.public_key = self.private_key.public_key().to_bytes()

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(time.time_ns() / 1e9, CHINA)

    def range_of_receipt(self) -> dict[str, str]:
        """From yesterday to next month, whatever the bank's business clock says meanwhile."""
        begin, end = self.now() - dt.timedelta(days=1), self.now() + dt.timedelta(days=30)
        return {"begDat": begin.strftime("%Y%m%d"), "endDat": end.strftime("%Y%m%d")}

    def install_keys(self) -> None:
        (self.keys_dir / f"{USER_ID}.public_key.hex").write_text(self.public_key.hex() + "\n")
        (self.keys_dir / f"{USER_ID}.sm4_key.hex").write_text(self.sm4_key.hex() + "\n")

    def call(self, function: str, body: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The body of the answer; AssertionError when the bank refuses the message."""
        head, answer = self.exchange(function, body, **changes)
        assert head["resultcode"] == "SUC0000", head
        return answer

    def refusal(self, function: str, body: dict[str, Any]) -> str:
        head, answer = self.exchange(function, body)
        assert answer == {}
        return str(head["resultcode"])

    def exchange(self, function: str, body: dict[str, Any], **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        response = self.post(self.form(function, body, **changes))
        if response.status_code != 200 or response.text.startswith(("CDCServer:", "ErrMsg:")):
            raise GatewayAnswer(response.text)
        return self.open(response.text, function)

    def post(self, form: dict[str, str], **headers: str) -> httpx.Response:
        return self.http.post("/cdc", data=form, headers=headers)

    def form(self, function: str, body: dict[str, Any], **changes: Any) -> dict[str, str]:
        now = self.now() + changes.get("clock_skew", dt.timedelta())
        reqid = changes.get("reqid") or now.strftime("%Y%m%d%H%M%S%f")[:17] + f"{next(self._reqids):06d}"
        message = {
            "request": {"head": {"funcode": function, "userid": USER_ID, "reqid": reqid}, "body": body},
            "signature": {"sigtim": now.strftime("%Y%m%d%H%M%S"), "sigdat": PLACEHOLDER},
        }
        message["signature"]["sigdat"] = base64.b64encode(
            self.private_key.sign(canonical(message), identity=self.padded)
        ).decode()
        changes.get("tamper", lambda _: None)(message)
        sealed = crypto.sm4_cbc_encrypt(self.sm4_key, self.padded, canonical(message))
        return {"UID": USER_ID, "FUNCODE": function, "ALG": "SM", "DATA": base64.b64encode(sealed).decode()}

    def open(self, text: str, function: str) -> tuple[dict[str, Any], dict[str, Any]]:
        plain = crypto.sm4_cbc_decrypt(self.sm4_key, self.padded, base64.b64decode(text, validate=True))
        message = json.loads(plain)
        assert plain == canonical(message)
        raw = base64.b64decode(message["signature"]["sigdat"], validate=True)
        message["signature"]["sigdat"] = PLACEHOLDER
        bank_key = bytes.fromhex((self.keys_dir / "bank_public_key.hex").read_text().strip())
        try:
            crypto.VerifyKey.from_bytes(bank_key).verify(canonical(message), raw, identity=self.padded)
        except crypto.CryptoError:
            raise BadAnswer("signature") from None
        head = message["response"]["head"]
        assert (head["funcode"], head["userid"]) == (function, USER_ID)
        return head, message["response"]["body"]


def line(reference: str, amount: str = "100.00", **changes: str) -> dict[str, str]:
    return {
        "yurRef": reference,
        "trsAmt": amount,
        "ccyNbr": "10",
        "crtAcc": "6225880112345678",
        "crtNam": '深圳市  <宏达> & 联 五金"有限公司',
        "crtBrd": "308584000013",
        "crtBnk": "招商银行股份有限公司",
        "stlChn": "Q",
        "nusAge": "货款 INV/2026-0001",
        "conNbr": "N/A",
        "invNbr": "N/A",
        **changes,
    }


def batch(batch_number: str, lines: list[dict[str, str]], account: str = "755915678910001") -> dict[str, Any]:
    total = sum(round(float(one["trsAmt"]) * 100) for one in lines)
    header = {
        "batNbr": batch_number,
        "dbtAcc": account,
        "ccyNbr": "10",
        "dtlNum": str(len(lines)),
        "dtlAmt": f"{total // 100}.{total % 100:02d}",
    }
    return {"bb1paybhx1": [header], "bb1paybhx2": lines}


def cents(amount: str | float) -> int:
    """Hundredths of an amount that may come as text or number."""
    return round(float(amount) * 100)
