"""The keys of one bank profile while the gateway runs: what the journal says, opened, and changed without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from yinqi.crypto import CryptoError, VerifyKey
from yinqi.gateway import key_set
from yinqi.gateway.key_checks import public_key_id
from yinqi.gateway.key_officers import KeyOfficers, Word
from yinqi.gateway.key_set import BankKey, KeyEvent, KeyEventKind, KeyOrigin, KeyPurpose, KeySet, KeyState
from yinqi.gateway.key_store import SqlKeys
from yinqi.gateway.keystore import BankKeys, KeyFolder, KeysInvalid, OpenedKey, keys_of
from yinqi.gateway.model import NoticeEvent
from yinqi.gateway.open_keys import BankUse, CipherUse, OpenKeys, SigningUse
from yinqi.gateway.profile import Profile
from yinqi.gateway.repository import SqlStore
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import InvalidRequest, Unavailable, YinqiError
from yinqi.runtime.database import Database

_log = structlog.get_logger(__name__)
_ALERT = "KEYS"
_OURS = (KeyPurpose.SIGNING, KeyPurpose.CIPHER)
_PROBE = b"yinqi/key-probe"
Decide = Callable[[KeySet, datetime], KeyEvent]


class NewKey(NamedTuple):
    """A key to stage. Exactly one of the four sources is given.

    Attributes:
        create: make it here. file: one in the key folder. device_index: one in the profile's device.
        public_key: the bank's, 04‖x‖y or SubjectPublicKeyInfo (DER).
    """

    purpose: KeyPurpose
    create: bool = False
    file: str = ""
    device_index: int = 0
    public_key: bytes = b""
    valid_from: datetime | None = None
    valid_until: datetime | None = None


class KeyRing:
    """Keeps `keys` what the journal of a profile says, on each replica by itself.

    A message takes its keys when it is made, so one that is on its way is not touched by a change.
    """

    def __init__(
        self,
        profile: Profile,
        folder: KeyFolder,
        database: Database,
        clock: Clock,
        officers: KeyOfficers | None = None,
    ) -> None:
        self._officers = officers or KeyOfficers(None)
        self.profile = profile
        self.keys: BankKeys
        self._folder = folder
        self._database = database
        self._clock = clock
        self._opened: dict[str, OpenedKey] = {}
        self._shown: object = None
        self._refreshing = asyncio.Lock()

    async def open(self) -> None:
        """Open the keys in use; at the first start take or make the first ones.

        Raises:
            KeysInvalid, KeyWeak, KeyExposed: why the gateway does not start.
        """
        self._folder.prepare()
        known = await self._known()
        now = self._clock.now()
        opened = {purpose: await self._first(purpose, known, now) for purpose in _OURS}
        self.keys = keys_of(opened[KeyPurpose.SIGNING], opened[KeyPurpose.CIPHER], self._folder)
        await self.refresh()

    async def refresh(self) -> None:
        """Take up what the journal says now; cheap if nothing changed.

        Raises:
            YinqiError: what should be in use cannot be opened; the keys stay as they were.
        """
        async with self._refreshing:
            known = await self._adopt_bank_key(await self._known())
            now = self._clock.now()
            if key_set.overdue(known, now):
                known = await self._database.run(lambda connection: self._retire_overdue(connection, now))
            shown = [(key.key_id, key.state_at(now), key.is_valid_at(now)) for key in known]
            if shown == self._shown:
                return
            await self._take_up(known, now)
            self._shown = shown

    async def list(self) -> list[tuple[BankKey, KeyState]]:
        """Return all keys of the profile, in the order they came, with their states."""
        now = self._clock.now()
        return [(key, key.state_at(now)) for key in await self._known()]

    async def stage(self, new: NewKey, actor: str) -> tuple[BankKey, KeyState]:
        """Take in a key that is not in use yet.

        Raises:
            KeysInvalid, KeyWeak, KeyExposed, InvalidRequest, AlreadyExists: it was not taken in.
        """
        opened = await asyncio.to_thread(self._source, new)
        now = self._clock.now()
        event = KeyEvent(
            self.profile.name,
            opened.key_id,
            new.purpose,
            KeyEventKind.STAGED,
            actor,
            now,
            opened.origin,
            new.public_key.hex() if new.purpose is KeyPurpose.BANK else opened.public_key,
            opened.file,
            new.valid_from,
            new.valid_until,
        )

        def decide(known: KeySet, _now: datetime) -> KeyEvent:
            key_set.check_new(known, event)
            return event

        return await self._decide(decide, opened.key_id)

    async def ask(self, key_id: str, overlap: timedelta, word: Word) -> tuple[BankKey, KeyState]:
        """Ask for a key's activation; see `key_set.asked` and `KeyOfficers.person`."""

        def decide(known: KeySet, now: datetime) -> KeyEvent:
            key = replace(known.require(key_id), overlap=overlap)
            person = self._officers.person(word, key, KeyEventKind.ACTIVATION_ASKED, now)
            event = key_set.asked(known, key_id, overlap, person, now)
            return replace(event, signer=word.signer, signature=word.signature)

        return await self._decide(decide, key_id)

    async def confirm(self, key_id: str, word: Word) -> tuple[BankKey, KeyState]:
        """Activate a key that somebody else asked for; see `key_set.confirmed` and `KeyOfficers.person`.

        It is tried before it is relied on.
        """

        def decide(known: KeySet, now: datetime) -> KeyEvent:
            person = self._officers.person(word, known.require(key_id), KeyEventKind.ACTIVATED, now)
            event = key_set.confirmed(known, key_id, person, now)
            return replace(event, signer=word.signer, signature=word.signature)

        known = await self._known()
        decide(known, self._clock.now())
        await asyncio.to_thread(self._try, known.require(key_id))
        return await self._decide(decide, key_id)

    async def retire(self, key_id: str, actor: str) -> tuple[BankKey, KeyState]:
        """End a key at once; see `key_set.retired`."""
        return await self._decide(lambda known, now: key_set.retired(known, key_id, actor, now), key_id)

    # --- the journal --------------------------------------------------------------------------------------------------

    async def _known(self) -> KeySet:
        return await self._database.read(lambda connection: SqlKeys(connection).keys(self.profile.name))

    async def _decide(self, decide: Decide, key_id: str) -> tuple[BankKey, KeyState]:
        now = self._clock.now()

        def record(connection: Connection) -> KeyEvent:
            keys = SqlKeys(connection)
            keys.lock()
            event = decide(keys.keys(self.profile.name), now)
            keys.append([event])
            alert = NoticeEvent(self.profile.name, "", now, key_id, _ALERT, f"KEY_{event.kind}")
            SqlStore(connection).notices.append([alert])
            return event

        event = await self._database.run(record)
        _log.warning(
            "a bank key changed", profile=self.profile.name, key_id=key_id, change=event.kind, actor=event.actor
        )
        await self.refresh()
        key = (await self._known()).require(key_id)
        return key, key.state_at(self._clock.now())

    def _retire_overdue(self, connection: Connection, now: datetime) -> KeySet:
        keys = SqlKeys(connection)
        keys.lock()
        events = key_set.overdue(keys.keys(self.profile.name), now)
        keys.append(events)
        alerts = [NoticeEvent(one.profile, "", now, one.key_id, _ALERT, "KEY_RETIRED") for one in events]
        SqlStore(connection).notices.append(alerts)
        return key_set.key_set_of([*keys.events(self.profile.name), *events])

    async def _adopt(self, event: KeyEvent) -> KeySet:
        def record(connection: Connection) -> KeySet:
            keys = SqlKeys(connection)
            keys.lock()
            found = keys.events(self.profile.name)
            if not any(one.purpose is event.purpose for one in found):  # another replica may have been faster
                keys.append([event])
                found.append(event)
            return key_set.key_set_of(found)

        _log.warning("took a first key", profile=event.profile, purpose=event.purpose, key_id=event.key_id)
        return await self._database.run(record)

    async def _first(self, purpose: KeyPurpose, known: KeySet, now: datetime) -> OpenedKey:
        """Open the key in use, or take or make the first one."""
        if (key := known.active(purpose, now)) is not None:
            return await self._open(key)
        opened = await asyncio.to_thread(self._folder.first, purpose)
        self._opened[opened.key_id] = opened
        event = KeyEvent(
            self.profile.name,
            opened.key_id,
            purpose,
            KeyEventKind.ADOPTED,
            key_set.GATEWAY,
            now,
            opened.origin,
            opened.public_key,
            opened.file,
        )
        now_known = await self._adopt(event)
        active = now_known.active(purpose, self._clock.now())
        return opened if active is None else await self._open(active)

    async def _adopt_bank_key(self, known: KeySet) -> KeySet:
        """Pin the key that the bank left, once it is there. Later ones come in by two people only."""
        if known.has(KeyPurpose.BANK):
            return known
        try:
            found = self.keys.find_bank_key()
        except Unavailable:
            return known  # not there yet; whoever sends is told
        event = KeyEvent(
            self.profile.name,
            found.key_id,
            KeyPurpose.BANK,
            KeyEventKind.ADOPTED,
            key_set.GATEWAY,
            self._clock.now(),
            KeyOrigin.EXCHANGE,
            found.key.to_bytes().hex(),
        )
        return await self._adopt(event)

    # --- the keys themselves ------------------------------------------------------------------------------------------

    async def _take_up(self, known: KeySet, now: datetime) -> None:
        signing, cipher = (known.active(purpose, now) for purpose in _OURS)
        if signing is None or cipher is None:
            return
        expired = [key.key_id for key in (signing, cipher) if not key.is_valid_at(now)]
        if expired:
            self.keys.stop(_expired(self.profile.name, expired[0]))
            return
        ours = await self._open(signing)
        shared = [await self._open(key) for key in (cipher, *known.in_state(KeyPurpose.CIPHER, KeyState.RETIRING, now))]
        staged = known.in_state(KeyPurpose.CIPHER, KeyState.STAGED, now)
        # The bank, or another replica, may be a moment ahead of us.
        shared += [opened for key in staged if (opened := await self._open_if_there(key)) is not None]
        bank = [
            *known.in_state(KeyPurpose.BANK, KeyState.ACTIVE, now),
            *known.in_state(KeyPurpose.BANK, KeyState.RETIRING, now),
        ]
        if ours.signer is not None:
            self.keys.replace(
                OpenKeys(
                    SigningUse(ours.key_id, ours.signer),
                    tuple(CipherUse(one.key_id, one.cipher) for one in shared),
                    tuple(_bank_use(key) for key in bank if key.is_valid_at(now)),
                    tuple(_bank_use(key) for key in known.in_state(KeyPurpose.BANK, KeyState.RETIRED, now)),
                )
            )
        accepted = [
            key.public_key
            for state in (KeyState.ACTIVE, KeyState.RETIRING, KeyState.STAGED)
            for key in known.in_state(KeyPurpose.SIGNING, state, now)
        ]
        self._folder.export(accepted, [one.cipher for one in shared])

    async def _open_if_there(self, key: BankKey) -> OpenedKey | None:
        """Open a key that is not needed yet; its file may still be missing on this replica."""
        try:
            return await self._open(key)
        except YinqiError as error:
            _log.warning("a staged key cannot be opened yet", key_id=key.key_id, reason=error.reason)
            return None

    async def _open(self, key: BankKey) -> OpenedKey:
        if key.key_id not in self._opened:
            self._opened[key.key_id] = await asyncio.to_thread(self._folder.open_known, key)
        return self._opened[key.key_id]

    def _source(self, new: NewKey) -> OpenedKey:
        """Return the key that somebody wants to bring in, checked."""
        if new.purpose is KeyPurpose.BANK:
            if not new.public_key:
                raise _source_wrong("a bank's key comes as its public key", "银行密钥须提供公钥")
            try:
                return OpenedKey(
                    self._folder.check_bank_key(VerifyKey.from_bytes(new.public_key)), "", KeyOrigin.IMPORTED
                )
            except CryptoError as error:
                raise _source_wrong(f"this is no SM2 public key ({error})", "不是 SM2 公钥") from None
        if new.public_key:
            raise _source_wrong(
                "a key of ours comes as a file, a device's index, or is made here", "我方密钥须为文件或设备密钥"
            )
        if new.create:
            if new.purpose is KeyPurpose.SIGNING and self.profile.keys.device is not None:
                raise _source_wrong(
                    "make the key in the device, then import its index", "请在设备中生成密钥后导入其编号"
                )
            opened = self._folder.make(new.purpose)
        elif new.device_index and new.purpose is KeyPurpose.SIGNING:
            opened = self._folder.open(new.purpose, f"device:{new.device_index}")
        elif new.file and "/" not in new.file and not new.file.startswith("."):
            opened = self._folder.open(new.purpose, new.file)
        else:
            raise _source_wrong("name a file in the gateway's key folder, without a path", "请给出密钥目录中的文件名")
        self._opened[opened.key_id] = opened
        return opened

    def _try(self, key: BankKey) -> None:
        """Return if a key does what it is for, here."""
        if key.purpose is KeyPurpose.BANK:
            _bank_use(key)
            return
        opened = self._opened.get(key.key_id) or self._folder.open_known(key)
        if opened.signer is not None:
            opened.signer.public_key().verify(_PROBE, opened.signer.sign(_PROBE, None), None)
        self._opened[key.key_id] = opened


def _bank_use(key: BankKey) -> BankUse:
    found = VerifyKey.from_bytes(bytes.fromhex(key.public_key))
    use = BankUse(key.key_id, found)
    if public_key_id(found) != key.key_id:
        raise KeysInvalid(
            "KEYS_INVALID",
            f"The journal's public key of the bank's key {key.key_id} is another one: the gateway's database was changed. "
            "Run `yinqi audit verify`.",
            "银行公钥与其编号不符，数据库可能被篡改，请执行 `yinqi audit verify`。",
        )
    return use


def _expired(profile: str, key_id: str) -> Unavailable:
    return Unavailable(
        "KEY_EXPIRED",
        f"Key {key_id} of profile {profile} is past its valid_until; nothing is signed with it. Activate another one "
        "(`yinqi keys rotate`).",
        f"银行配置 {profile} 的密钥 {key_id} 已过有效期，请启用新密钥。",
    )


def _source_wrong(words: str, words_zh: str) -> InvalidRequest:
    return InvalidRequest("KEY_SOURCE", f"source: {words}.", f"{words_zh}。")
