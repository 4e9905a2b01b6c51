"""The keys' journal on both stores: what one replica decides the other takes up; overlaps and days end by themselves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from yinqi import gateway as gateway_package
from yinqi.crypto import SigningKey
from yinqi.gateway.key_officers import Word
from yinqi.gateway.key_ring import KeyRing, NewKey
from yinqi.gateway.key_set import KeyPurpose, KeyState
from yinqi.gateway.keystore import KeyFolder
from yinqi.gateway.profile import load_profile
from yinqi.gateway.repository import read_notice_events
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.errors import FailedPrecondition, PermissionDenied, Unavailable
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate

NOW = dt.datetime(2026, 11, 22, 6, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
PASSWORD = b"test only"


class World:
    """A store, a key folder and a clock that two replicas share."""

    def __init__(self, url: str, folder: Path, open_database: Callable[..., Database]) -> None:
        migrate(url, "gateway")
        self.database = open_database(url)
        self.clock = FixedClock(NOW)
        self.keys, self.exchange = folder / "keys", folder / "exchange"
        for one in (self.keys, self.exchange):
            one.mkdir()
        self.put("U123456789.signing_key.pem", SigningKey.generate().to_encrypted_pem(PASSWORD, 10_000))
        self.put("U123456789.password", PASSWORD)
        self.bank = SigningKey.generate()
        (self.exchange / "bank_public_key.hex").write_text(self.bank.public_key().to_bytes().hex())
        self.profile = load_profile(
            Path(gateway_package.__file__).parent / "profiles" / "demo_bank.toml",
            {"sandbox_bank_address": "127.0.0.1:1", "var_dir": str(folder)}
            | {"keys_dir": str(self.keys), "exchange_dir": str(self.exchange)},
        )

    def put(self, name: str, content: bytes) -> str:
        """Bring a file into the key folder, as an operator does."""
        (self.keys / name).write_bytes(content)
        (self.keys / name).chmod(0o600)
        return name

    async def replica(self) -> KeyRing:
        ring = KeyRing(self.profile, KeyFolder(self.profile), self.database, self.clock)
        await ring.open()
        return ring

    async def states(self, ring: KeyRing) -> dict[str, KeyState]:
        return {key.key_id: state for key, state in await ring.list()}


@pytest.fixture
def world(database_url: str, tmp_path: Path, open_database: Callable[..., Database]) -> World:
    return World(database_url, tmp_path, open_database)


async def test_one_replica_decides_and_the_other_takes_it_up_until_the_overlap_is_over(world: World) -> None:
    one, other = await world.replica(), await world.replica()
    was = one.keys.now()
    assert other.keys.now().signing.key_id == was.signing.key_id
    assert len(await one.list()) == 3  # each was taken once, by one of them
    new = SigningKey.generate()
    file = world.put("next.signing_key.pem", new.to_encrypted_pem(b"another", 10_000))
    world.put("next.signing_key.pem.password", b"another")
    staged, _ = await one.stage(NewKey(KeyPurpose.SIGNING, file=file), "li.si")
    lines = (world.exchange / "U123456789.public_key.hex").read_text().split()
    assert lines == [was.signing.key.public_key().to_bytes().hex(), new.public_key().to_bytes().hex()]

    await one.ask(staged.key_id, HOUR, Word("li.si"))
    with pytest.raises(PermissionDenied):
        await other.confirm(staged.key_id, Word("li.si"))
    await other.confirm(staged.key_id, Word("wang.wu"))
    await one.refresh()
    assert one.keys.now().signing.key_id == other.keys.now().signing.key_id == staged.key_id
    assert (await world.states(one))[was.signing.key_id] is KeyState.RETIRING
    assert (world.exchange / "U123456789.public_key.hex").read_text().split() == lines[::-1]

    world.clock.advance(HOUR)
    await one.refresh()
    await other.refresh()
    assert (await world.states(one))[was.signing.key_id] is KeyState.RETIRED
    assert (world.exchange / "U123456789.public_key.hex").read_text().split() == lines[1:]
    told = [event.refusal for event in world.database.read_sync(lambda c: read_notice_events(c, 0, 100))]
    assert told == ["KEY_STAGED", "KEY_ACTIVATION_ASKED", "KEY_ACTIVATED", "KEY_RETIRED"]


async def test_the_banks_first_key_is_pinned_and_another_file_changes_nothing(world: World) -> None:
    one = await world.replica()
    stranger = SigningKey.generate().public_key().to_bytes().hex()
    (world.exchange / "bank_public_key.hex").write_text(stranger)
    await one.refresh()
    again = await world.replica()
    assert again.keys.bank_key().to_bytes() == one.keys.bank_key().to_bytes() == world.bank.public_key().to_bytes()


async def test_a_key_past_its_days_signs_no_more_and_a_swapped_file_stops_the_start(world: World) -> None:
    one = await world.replica()
    staged, _ = await one.stage(NewKey(KeyPurpose.CIPHER, create=True, valid_until=NOW + 2 * HOUR), "li.si")
    await one.ask(staged.key_id, dt.timedelta(), Word("li.si"))
    await one.confirm(staged.key_id, Word("wang.wu"))
    assert one.keys.sending().ciphers[0].key_id == staged.key_id
    world.clock.advance(2 * HOUR)
    await one.refresh()
    with pytest.raises(Unavailable, match="past its valid_until"):
        one.keys.sending()
    assert one.keys.now().ciphers[0].key_id == staged.key_id  # what is on its way may come home
    (world.keys / staged.file).write_text("8f1c55a0d97b3e62440fa1b8c6d2e397")
    with pytest.raises(FailedPrecondition, match="Put the file back"):
        await world.replica()
