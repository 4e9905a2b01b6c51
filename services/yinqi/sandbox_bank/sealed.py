"""The bank behind its envelope: posted forms in, bytes for the wire out; SM2 and SM4 happen here and nowhere below."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from yinqi.sandbox_bank import sm
from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.effects import Effects, Json, Notice, plain_error
from yinqi.sandbox_bank.envelope import open_request, seal, signed
from yinqi.sandbox_bank.errors import GatewayError
from yinqi.sandbox_bank.functions import RECEIPTS
from yinqi.sandbox_bank.keys import KeyRing
from yinqi.sandbox_bank.receipts import FACTS, signed_once

_SENT_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the transport must do, and the whole body it would send."""

    effects: Effects
    body: bytes

    @property
    def outcome(self) -> str:
        """See `Effects.outcome`."""
        return self.effects.outcome


class SealedBank:
    """One sandbox bank that speaks the cdc dialect."""

    def __init__(self, bank: Bank, keys: KeyRing) -> None:
        self.bank, self.keys = bank, keys
        self._sent: dict[int, bytes] = {}  # the last form of each notice, oldest first, for replays
        self._stranger = sm.generate_key_pair()

    def exchange(self, form: Mapping[str, str]) -> Delivery:
        """Answer one posted form; whatever was recorded is on disk when this returns."""
        try:
            message, sm4_key = open_request(form, self.keys)
        except GatewayError as error:
            return _plain(plain_error(error))
        effects = self.bank.handle(message)
        if effects.response is None:
            return _plain(effects)
        try:
            self.keys.of_user(message.user_id)
        except GatewayError as error:  # The keys were taken away meanwhile.
            return _plain(plain_error(error))
        signer = self.keys.own_pair()
        spoil, at_ms = effects.spoil_signature, effects.signed_at_ms
        response = self._with_receipts(effects.response, signer, at_ms, message.user_id)
        sealed = seal("response", response, sm4_key, signer, at_ms, message.user_id, spoil_signature=spoil)
        return Delivery(effects, sealed)

    def _with_receipts(self, response: Json, signer: tuple[bytes, bytes], at_ms: int, user_id: str) -> Json:
        """The answer with its receipts as files; each is signed once and is the same ever after."""
        if not response["body"].get(RECEIPTS):
            return response
        with self.bank.book.write() as connection:
            found = []
            for record in response["body"][RECEIPTS]:
                sign = partial(signed, "receipt", record[FACTS], signer, at_ms, user_id)
                file = base64.b64encode(signed_once(connection, record["rcpnbr"], sign)).decode("ascii")
                found.append({**{name: record[name] for name in record if name != FACTS}, "rcpfil": file})
        return {**response, "body": {**response["body"], RECEIPTS: found}}

    def notice_form(self, notice: Notice) -> dict[str, str]:
        """The form of one notice as it is posted.

        Raises:
            GatewayError: the user's keys are not installed (any more).
        """
        data = self._sent.get(notice.number) if notice.repeated else None
        if data is None:
            data = self._sealed_notice(notice)
        if not notice.forged and not notice.repeated:
            self._sent[notice.number] = data
            while len(self._sent) > _SENT_KEPT:
                del self._sent[next(iter(self._sent))]
        return {"UID": notice.user_id, "FUNCODE": "BBNOTICE", "ALG": "SM", "DATA": data.decode("ascii")}

    def _sealed_notice(self, notice: Notice) -> bytes:
        """A forged one carries a stranger's signature, or the bank's spoilt one."""
        user = self.keys.of_user(notice.user_id)
        signer = self._stranger if notice.forged == "wrong_key" else self.keys.own_pair()
        spoil = notice.forged == "altered"
        return seal(
            "notice", notice.notice, user.sm4_key, signer, notice.signed_at_ms, notice.user_id, spoil_signature=spoil
        )


def _plain(effects: Effects) -> Delivery:
    return Delivery(effects, effects.text.encode("utf-8"))
