"""The demo's company: its ERP signs what it hands in, and people approve with keys of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from yinqi.api.payment.v1 import order_pb2, payment_pb2, payment_service_pb2
from yinqi.client import Algorithm, NewOrder, PrivateKey, new_order, shown_order
from yinqi.demo.sisters import Sisters, patiently
from yinqi.intake.handover import CALL_TIMEOUT_S, Initiate, Outcomes
from yinqi.kernel.clock import SystemClock
from yinqi.orders.evidence import signed_to
from yinqi.orders.order import sign_decision
from yinqi.orders.policy_file import KEYS_FILE, POLICY_FILE, sign_policy

NAME = "银企示例有限公司"
MAKER = "erp"
_ROLES = {MAKER: "maker", "li.si": "checker", "zhao.liu": "checker", "wang.wu": "director"}
_POLICY_SIGNERS = ("chen.yi", "zhou.qi")
_CURRENCIES = ("CNY", "EUR", "GBP", "HKD", "CHF")
_APPROVED_WITHIN_S = 240.0  # as long as payments may take while processes are killed
# Small sums to suppliers go by the ERP's signature alone, larger ones take a checker, the largest a director as well.
_TIERS = """  { up_to = "2000.00" },
  { up_to = "50000.00", needs = { checker = 1 } },
  { up_to = "1000000.00", needs = { checker = 1, director = 1 } },
"""
_WAGE_TIERS = """  { needs = { checker = 1, director = 1 } },
"""


class Company:
    """The people, their keys, and the orders they make. `decisions`: how many were given."""

    def __init__(self) -> None:
        self.keys = {
            name: PrivateKey.generate(f"{name}-2026", Algorithm.ED25519 if name == "zhao.liu" else Algorithm.SM2)
            for name in _ROLES
        }
        self.orders: dict[str, NewOrder] = {}
        self.decisions = 0

    def publish(self, *folders: Path) -> None:
        """Write the policy into each service's own folder, signed by two people."""
        signers = {name: PrivateKey.generate(f"{name}-policy") for name in _POLICY_SIGNERS}
        people = "".join(f'[[person]]\nname = "{name}"\nroles = ["{role}"]\n' for name, role in _ROLES.items())
        rules = "".join(_rule(one, '"SALA"', _WAGE_TIERS) + _rule(one, '"*"', _TIERS) for one in _CURRENCIES)
        keys = "".join(_key(name, key) for name, key in self.keys.items())
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / KEYS_FILE).write_text("".join(_key(name, key) for name, key in signers.items()), "utf-8")
            policy = f'version = 1\ncompany = "{NAME}"\n{people}{keys}{rules}'
            (folder / POLICY_FILE).write_text(policy, "utf-8")
            for key in signers.values():
                sign_policy(folder, key)

    def signed(self, sisters: Sisters) -> Initiate:
        """Return the way in for a caller that signs; handed in again, the same payments are the same order."""

        async def initiate(instructions: Sequence[payment_pb2.PaymentInstruction]) -> Outcomes:
            order = self._order(instructions)
            request = payment_service_pb2.InitiateSignedPaymentsRequest(
                order=signed_to(order.signed), lines=order.lines
            )
            return (await sisters.payment.InitiateSignedPayments(request, timeout=CALL_TIMEOUT_S)).outcomes

        return initiate

    def _order(self, instructions: Sequence[payment_pb2.PaymentInstruction]) -> NewOrder:
        first = instructions[0].end_to_end_id
        if first not in self.orders:
            order_id = f"RUN-{len(self.orders) + 1:03}"
            self.orders[first] = new_order(order_id, instructions, company=NAME, key=self.keys[MAKER])
        return self.orders[first]

    async def approve(self, sisters: Sisters) -> None:
        """Decide until nothing waits and nothing is left to be screened; each sees the proven order and signs that."""
        end_at = time.monotonic() + _APPROVED_WITHIN_S
        while time.monotonic() < end_at:
            # In this order: what is screened in between waits by the time the list is read.
            is_any_unscreened = await _is_any_unscreened(sisters)
            waiting = await sisters.approvals()
            if not waiting and not is_any_unscreened:
                return
            for approval in waiting:
                for missing in approval.missing:
                    await self._give(approval, missing.people[0], sisters)
            await asyncio.sleep(0.1)

    async def _give(self, approval: order_pb2.Approval, person: str, sisters: Sisters) -> None:
        asked = payment_service_pb2.GetApprovalRequest(order=approval.order_digest)
        shown = shown_order(await patiently(lambda: sisters.payment.GetApproval(asked)))
        now = SystemClock().now()
        signed = sign_decision(shown.digest, approves=True, shown=shown.text, key=self.keys[person], now=now)
        request = payment_service_pb2.DecideOrderRequest(
            order=approval.order_digest,
            decision=order_pb2.SignedDecision(
                decision=signed.content, key_id=signed.key_id, signature=signed.signature
            ),
        )
        await patiently(lambda: sisters.payment.DecideOrder(request, timeout=CALL_TIMEOUT_S))
        self.decisions += 1


async def _is_any_unscreened(sisters: Sisters) -> bool:
    return any(count.status == payment_pb2.PAYMENT_STATUS_RECEIVED for count in await sisters.counts())


def _rule(currency: str, categories: str, tiers: str) -> str:
    return f'[[rule]]\naccounts = ["*"]\ncategories = [{categories}]\ncurrency = "{currency}"\ntier = [\n{tiers}]\n'


def _key(person: str, key: PrivateKey) -> str:
    return (
        f'[[key]]\nid = "{key.key_id}"\nperson = "{person}"\nalgorithm = "{key.algorithm}"\n'
        f'public_key = "{key.public_key().raw.hex()}"\n'
    )
