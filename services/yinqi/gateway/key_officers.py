"""Who may ask for a key's activation, and who may confirm it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from yinqi.gateway.key_set import BankKey, KeyEventKind, statement
from yinqi.kernel.errors import PermissionDenied
from yinqi.orders.keys import KEY_CHANGE_CONTEXT, SIGNATURE_BYTES
from yinqi.orders.policy_watch import PolicyInForce

ROLE = "key_officer"


class Word(NamedTuple):
    """What somebody says about a key.

    Attributes:
        caller: as the call's identity names him. signer, signature: his key by its name in the policy, and what it signed.
    """

    caller: str
    signer: str = ""
    signature: bytes = b""


class KeyOfficers:
    """Tells whose word it is: where a policy is in force, that of the person whose key signed it; else the caller's."""

    def __init__(self, policy: PolicyInForce | None) -> None:
        self._policy = policy

    def person(self, word: Word, key: BankKey, kind: KeyEventKind, now: datetime) -> str:
        """Return whose word it is.

        Raises:
            PermissionDenied: OFFICER_SIGNATURE_REQUIRED; a policy is in force, and this is no officer's signature.
        """
        if self._policy is None:
            return word.caller
        signed = self._policy.current
        registered = signed.keys.get(word.signer)
        if (
            registered is None
            or not registered.is_valid_at(now)
            or not signed.policy.has_role(registered.person, ROLE)
            or len(word.signature) != SIGNATURE_BYTES
        ):
            raise _required()
        content = KEY_CHANGE_CONTEXT + statement(
            key.profile, key.purpose, key.key_id, key.public_key, kind, key.overlap
        )
        if registered.public.verify_many([content], [word.signature]) != [True]:
            raise _required()
        return registered.person


def _required() -> PermissionDenied:
    return PermissionDenied(
        "OFFICER_SIGNATURE_REQUIRED",
        f"A policy is in force: the signature of a person with the role {ROLE} over this very change is needed. Give "
        "`yinqi keys rotate` your key with --key and --key-id.",
        f"审批策略已生效：须由担任 {ROLE} 的人员对本次变更签名（--key、--key-id）。",
    )
