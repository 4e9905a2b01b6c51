"""Makes `vectors.json`: `python tests/vectors/signed_orders/make.py`. SM2 draws its nonce, so its signatures differ each time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from yinqi.api.payment.v1 import payment_pb2
from yinqi.crypto import GeneralSigningKey, SigningKey
from yinqi.orders.keys import PrivateKey
from yinqi.orders.line_tree import path_of
from yinqi.orders.order import NewOrder, sign_decision, sign_order

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
# RFC 8410's wrapping of the seed of RFC 8032, 7.1, TEST 1.
ED25519_SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
ED25519_PKCS8 = "302e020100300506032b657004220420" + ED25519_SEED
# The private key of GB/T 32918.5-2017, annex A.
SM2_D = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8"


def line(number: int) -> bytes:
    message = payment_pb2.PaymentInstruction(end_to_end_id=f"INV-{number}", remittance_information=f"发票 {number}")
    message.debtor_account.identification = "755915678910001"
    message.creditor.name = "收款有限公司"
    message.creditor_account.identification = "6225881234567890"
    message.creditor_agent.clearing_member_id = "102100099996"
    message.instructed_amount.currency = "CNY"
    message.instructed_amount.minor_units = 100 * number
    return message.SerializeToString()


def case(name: str, key: PrivateKey, secret: str, lines: int) -> dict[str, object]:
    order: NewOrder = sign_order(
        f"ORDER-{lines}",
        [line(number) for number in range(1, lines + 1)],
        company="银企示例有限公司",
        key=key,
        now=NOW,
        lifetime=timedelta(hours=1),
        random_bytes=lambda count: bytes(range(count)),
    )
    decision = sign_decision(order.digest, approves=True, shown="5 lines, CNY 15.00", key=key, now=NOW)
    return {
        "name": name,
        "algorithm": key.algorithm,
        "key_id": key.key_id,
        "private_key": secret,
        "public_key": key.public_key().raw.hex(),
        "lines": [one.hex() for one in order.lines],
        "leaves": [one.hex() for one in order.leaves],
        "path_of_last_line": [[is_left, one.hex()] for is_left, one in path_of(order.leaves, lines - 1)],
        "order": order.signed.content.hex(),
        "order_digest": order.digest.hex(),
        "signature": order.signed.signature.hex(),
        "decision": decision.content.hex(),
        "decision_signature": decision.signature.hex(),
    }


if __name__ == "__main__":
    sm2 = PrivateKey("erp-sm2", SigningKey.from_bytes(bytes.fromhex(SM2_D)))
    edwards = PrivateKey("erp-ed25519", GeneralSigningKey.from_pkcs8("ed25519", bytes.fromhex(ED25519_PKCS8)))
    cases = [case("SM2, one line", sm2, SM2_D, 1), case("SM2, five lines", sm2, SM2_D, 5)]
    cases += [
        case("Ed25519, one line", edwards, ED25519_SEED, 1),
        case("Ed25519, five lines", edwards, ED25519_SEED, 5),
    ]
    text = json.dumps({"source": "made by make.py", "cases": cases}, indent=1, ensure_ascii=False)
    Path(__file__).with_name("vectors.json").write_text(text + "\n", "utf-8")
