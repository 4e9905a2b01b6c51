"""A profile, open keys and the bank's side of the envelope, all without a network."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yinqi import gateway as gateway_package
from yinqi.crypto import SigningKey
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.keystore import BankKeys
from yinqi.gateway.model import BankAccount, Instruction, Submission
from yinqi.gateway.ports import Outgoing, WireAnswer
from yinqi.gateway.profile import Profile, load_profile
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.kernel.money import Money
from yinqi.sandbox_bank import sm

NOW = dt.datetime(2026, 11, 22, 6, 5, 1, 123_000, tzinfo=dt.UTC)
IDENTITY = b"U123456789000000"
PLACEHOLDER = "__signature_sigdat__"
PROFILES = Path(gateway_package.__file__).parent / "profiles"


def canonical(message: Any) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class BankSide:
    """The other end of the wire, with keys of its own and another implementation of SM2 and SM4."""

    def __init__(self, folder: Path) -> None:
        self.private_key, self.public_key = sm.generate_key_pair()
        self.sm4_key = bytes(range(16))
        file = folder / "bank_public_key.hex"
        file.write_text(self.public_key.hex())
        self.keys = BankKeys(SigningKey.generate(), self.sm4_key, file)

    def message(self, outgoing: Outgoing, body: Any, **head: str) -> dict[str, Any]:
        """An answer before it is signed."""
        full = {"bizcode": "", "funcode": outgoing.function, "reqid": outgoing.message_id, "resultcode": "SUC0000",
                "resultmsg": "", "rspid": "1", "userid": "U123456789", **head}  # fmt: skip
        return {
            "response": {"body": body, "head": full},
            "signature": {"sigdat": PLACEHOLDER, "sigtim": "20261122140501"},
        }

    def seal(self, message: dict[str, Any]) -> WireAnswer:
        """Sign and encrypt."""
        raw = sm.sign(self.private_key, self.public_key, canonical(message), IDENTITY)
        message["signature"]["sigdat"] = base64.b64encode(raw).decode()
        return self.encrypt(canonical(message))

    def encrypt(self, plain: bytes) -> WireAnswer:
        """Encrypt whatever it is."""
        return WireAnswer(200, base64.b64encode(sm.encrypt(self.sm4_key, IDENTITY, plain)))

    def answer(self, outgoing: Outgoing, body: Any, **head: str) -> WireAnswer:
        """A good answer."""
        return self.seal(self.message(outgoing, body, **head))


@pytest.fixture(scope="session")
def bank_side(tmp_path_factory: pytest.TempPathFactory) -> BankSide:
    return BankSide(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def profile() -> Profile:
    return load_profile(
        PROFILES / "demo_bank.toml",
        {"sandbox_bank_address": "127.0.0.1:1", "var_dir": "/v", "keys_dir": "/k", "exchange_dir": "/x"},
    )


@pytest.fixture(scope="session")
def dialect(profile: Profile, bank_side: BankSide) -> CdcDialect:
    clock = FixedClock(NOW)
    return CdcDialect(profile, bank_side.keys, clock, TimeOrderedIds(clock))


@pytest.fixture(scope="session")
def account() -> BankAccount:
    return BankAccount("755915678910001", "CNY", "银企示例制造有限公司", "demo_bank")


class Submissions:
    """Makes submissions that differ from a good one in what a test names."""

    def __call__(self, instruction_id: str = "YQ0001", attempt: int = 1, **changes: Any) -> Submission:
        good = Instruction(
            end_to_end_id="E2E-1",
            debtor_account="755915678910001",
            creditor_name="收款有限公司",
            creditor_account="6225881234567890",
            amount=Money("CNY", 123450),
            clearing_member_id="102100099996",
            remittance_information="货款",
        )
        return Submission(instruction_id, attempt, replace(good, **changes))


@pytest.fixture(scope="session")
def submission() -> Submissions:
    return Submissions()
