"""What payment keeps at rest: nothing in clear, nothing movable, and keys that change while it works."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from payment_builders import DEBTOR_ACCOUNT, NOW, PACING, new_payment
from sqlalchemy import Connection, select, text, update

from yinqi.kernel.clock import FixedClock, SystemClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.payment import use_cases
from yinqi.payment.model import NewPayment, OrderPlace, OrderRecord, Payment, PaymentFilter, Recorded
from yinqi.payment.order_store import SqlOrderStore
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.tables import SEALED, order_lines, payments
from yinqi.runtime.data_keys import data_keys, list_data_keys, wrapped_by
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate
from yinqi.runtime.resealing import reseal
from yinqi.runtime.sealing import SealBroken, Sealing, SealingKeyNeeded, sealed_numbers, start_sealing
from yinqi.runtime.settings import Settings
from yinqi.runtime.wrapping_keys import WrappingKeyInvalid, WrappingKeys

IDS = TimeOrderedIds(FixedClock(NOW))
Seal = Callable[..., Sealing]


@pytest.fixture
def clear_database(database_url: str, open_database: Callable[..., Database]) -> Database:
    """A store that seals nothing yet."""
    migrate(database_url, "payment")
    return open_database(database_url)


def initiate(database: Database, lines: Sequence[NewPayment]) -> list[str]:
    outcomes = database.run_sync(lambda c: use_cases.initiate_payments(lines, SqlPaymentStore(c), ids=IDS, now=NOW))
    return [outcome.instruction_id for outcome in outcomes if isinstance(outcome, Recorded)]


def get(database: Database, end_to_end_id: str) -> Payment:
    found = database.read_sync(lambda c: SqlPaymentStore(c).get(end_to_end_id=end_to_end_id))
    assert found is not None
    return found


def search(database: Database, **given: str) -> list[str]:
    found = database.read_sync(lambda c: SqlPaymentStore(c).search(PaymentFilter(**given), None, 100))
    return sorted(payment.end_to_end_id for payment in found)


def payroll(number: int) -> NewPayment:
    return new_payment(
        f"SAL-{number}",
        creditor__name=f"金丝雀员工{number:04d}",
        creditor_account__identification=f"62170000{number:011d}",
        remittance_information=f"canary-salary-{number:04d} 八千元",
    )


def in_order(line: NewPayment, company: str) -> NewPayment:
    order = OrderRecord("d" * 64, "ORD-1", company, "erp", "0" * 32, b"\x0aroot", b"s", b"l" * 32)
    fields = {
        name: getattr(line, name) for name in ("instruction", "order_bytes", "request_hash", "initiator", "traceparent")
    }
    return NewPayment(**fields, place=OrderPlace(order, 1))


def stored(database: Database) -> bytes:
    """Everything in the tables, as text."""

    def dump(connection: Connection) -> bytes:
        tables = [one.table for one in SEALED] + [data_keys, sealed_numbers]
        rows = [repr(tuple(row)) for table in tables for row in connection.execute(select(table))]
        return "\n".join(rows).encode()

    return database.read_sync(dump)


def test_no_name_account_or_salary_is_in_the_store(payment_database: Database, tmp_path: Path):
    lines = [payroll(number) for number in range(200)]
    initiate(payment_database, [*lines[:-1], in_order(lines[-1], "某公司")])
    due = payment_database.run_sync(
        lambda c: use_cases.claim_for_screening(SqlPaymentStore(c), now=NOW, limit=500, pacing=PACING)
    )
    assert {payment.order_bytes for payment in due} == {line.order_bytes for line in lines}
    assert {payment.debtor_account for payment in due} == {DEBTOR_ACCOUNT}
    files = [file.read_bytes() for file in tmp_path.glob("store.db*")]
    for content in (*files, stored(payment_database)):
        for canary in ("金丝雀员工", "62170000", "canary-salary", DEBTOR_ACCOUNT):
            assert canary.encode() not in content
            assert canary.encode().hex().encode() not in content
    keys = payment_database.read_sync(list_data_keys)
    assert sorted(key.company for key in keys) == ["", "", "某公司"]  # the house's, the index, the company's


def test_what_is_looked_up_is_found(payment_database: Database):
    initiate(payment_database, [payroll(1), payroll(2), new_payment("A")])
    assert search(payment_database, debtor_account=DEBTOR_ACCOUNT) == ["A", "SAL-1", "SAL-2"]
    assert search(payment_database, debtor_account="755900000000000") == []
    assert search(payment_database, creditor_name="丝雀员工0002") == ["SAL-2"]
    filter_ = PaymentFilter(creditor_name="金丝雀")
    (counted,) = payment_database.read_sync(lambda c: SqlPaymentStore(c).count(filter_))
    assert (counted.debtor_account, counted[3]) == (DEBTOR_ACCOUNT, 2)


@pytest.mark.parametrize("column", ["creditor_account", "creditor_name", "order_bytes", "debtor_account"])
def test_a_value_of_another_row_is_noticed(payment_database: Database, column: str):
    other = new_payment(
        "B", creditor_account__identification="6222020200000000001", debtor_account__identification="7559"
    )
    first, second = initiate(payment_database, [new_payment("A"), other])

    def swap(connection: Connection) -> None:
        rows = dict(connection.execute(select(payments.c.instruction_id, payments.c[column])).all())
        for key, value in ((first, rows[second]), (second, rows[first])):
            connection.execute(update(payments).where(payments.c.instruction_id == key).values({column: value}))

    payment_database.run_sync(swap)
    with pytest.raises(SealBroken, match=r"payments\.\w+ of row PI") as raised:
        get(payment_database, "A")
    assert raised.value.metadata["row"].startswith(first)


def test_a_value_of_another_column_is_noticed(payment_database: Database):
    initiate(payment_database, [new_payment("A")])
    swap = update(payments).values(creditor_name=payments.c.creditor_account, creditor_account=payments.c.creditor_name)
    payment_database.run_sync(lambda c: c.execute(swap) and None)
    with pytest.raises(SealBroken, match=r"payments\.creditor_name"):
        get(payment_database, "A")


def test_rows_in_clear_are_read_beside_sealed_ones_and_sealed_later(
    clear_database: Database, seal_database: Seal, tmp_path: Path
):
    initiate(clear_database, [payroll(number) for number in range(7)])
    assert DEBTOR_ACCOUNT.encode() in stored(clear_database)
    seal_database(clear_database, tmp_path / "kek")
    initiate(clear_database, [new_payment("NEW", creditor__name="金丝雀员工9999")])
    assert len(search(clear_database, debtor_account=DEBTOR_ACCOUNT)) == 8
    assert len(search(clear_database, creditor_name="金丝雀")) == 8
    (counted,) = clear_database.read_sync(lambda c: SqlPaymentStore(c).count(PaymentFilter()))
    assert (counted.debtor_account, counted[3]) == (DEBTOR_ACCOUNT, 8)

    walked = list(reseal(clear_database, SEALED, rows_at_once=3))
    last = [step for step in walked if step.table == "payments"][-1]
    assert (last.seen, last.sealed) == (8, 7)
    for canary in (DEBTOR_ACCOUNT, "金丝雀员工", "62170000"):
        assert canary.encode() not in stored(clear_database)
    assert get(clear_database, "SAL-3").order_bytes == payroll(3).order_bytes
    assert [step.sealed for step in reseal(clear_database, SEALED)] == [0, 0, 0]


def test_a_row_in_clear_is_refused_where_all_are_sealed(payment_database: Database, tmp_path: Path):
    initiate(payment_database, [new_payment("A"), new_payment("B")])
    given = {"clock": SystemClock(), "random_bytes": secrets.token_bytes}
    settings = Settings(sealing_clear_rows="refuse")
    start_sealing(payment_database, str(tmp_path / "kek"), settings=settings, **given)
    assert get(payment_database, "A").debtor_account == DEBTOR_ACCOUNT
    forged = update(payments).where(payments.c.end_to_end_id == "A").values(creditor_account="6225880000000000")
    payment_database.run_sync(lambda c: c.execute(forged) and None)
    with pytest.raises(SealBroken, match=r"payments\.creditor_account of row PI.* written in clear"):
        get(payment_database, "A")
    assert get(payment_database, "B").debtor_account == DEBTOR_ACCOUNT


def test_sums_to_one_creditor_see_lines_of_before_and_after(
    clear_database: Database, seal_database: Seal, tmp_path: Path
):
    initiate(clear_database, [in_order(new_payment("A"), "C")])
    seal_database(clear_database, tmp_path / "kek")
    second = in_order(new_payment("B"), "C")
    assert second.place is not None
    changed = OrderPlace(second.place.order, 2)
    initiate(
        clear_database,
        [NewPayment(second.instruction, second.order_bytes, second.request_hash, "erp", "", "", changed)],
    )
    line = second.instruction
    pair = (line.debtor_account, line.creditor_account, line.currency)
    sums = clear_database.read_sync(lambda c: SqlOrderStore(c).creditor_sums([pair], NOW - timedelta(days=1)))
    assert sums == {pair: 2 * line.amount_minor_units}
    accounts = clear_database.read_sync(lambda c: c.execute(select(order_lines.c.creditor_account)).scalars().all())
    assert len(set(accounts)) == 2


def test_sealed_rows_without_a_key_do_not_start(payment_database: Database):
    initiate(payment_database, [new_payment("A")])
    given = {"settings": Settings(), "clock": SystemClock(), "random_bytes": secrets.token_bytes}
    with pytest.raises(SealingKeyNeeded, match="YINQI_SEALING_KEYS_DIR"):
        start_sealing(payment_database, "", **given)


def test_a_key_of_an_undone_transaction_seals_nothing_later(payment_database: Database):
    class Undone(Exception):
        pass

    def fail(connection: Connection) -> None:
        SqlPaymentStore(connection).add([("PI-LOST", in_order(new_payment("LOST"), "新公司"))], NOW)
        raise Undone

    with pytest.raises(Undone):
        payment_database.run_sync(fail)
    initiate(payment_database, [in_order(new_payment("KEPT"), "新公司")])
    assert get(payment_database, "KEPT").debtor_account == DEBTOR_ACCOUNT
    assert [key.company for key in payment_database.read_sync(list_data_keys)].count("新公司") == 1


def test_keys_are_rotated_while_payments_are_taken_and_read(
    clear_database: Database,
    database_url: str,
    open_database: Callable[..., Database],
    seal_database: Seal,
    tmp_path: Path,
):
    """The drill: a new key-encryption key, all data keys under it, new data keys, the old file gone; nothing is refused."""
    folder = tmp_path / "kek"
    seal_database(clear_database, folder)
    stop, taken, errors = threading.Event(), list[str](), list[Exception]()

    def work() -> None:
        while not stop.is_set():
            try:
                key = f"ROT-{len(taken)}"
                initiate(clear_database, [new_payment(key)])
                assert get(clear_database, key).debtor_account == DEBTOR_ACCOUNT
                taken.append(key)
                progress.set()
            except Exception as error:  # noqa: BLE001 (asserted below)
                errors.append(error)
                progress.set()
                return

    def some_more() -> None:
        progress.clear()
        assert progress.wait(120)

    progress = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    try:
        some_more()
        (old,) = folder.glob("*.kek")
        new = WrappingKeys(folder).create(secrets.token_bytes, "aes-256-gcm")
        some_more()
        beside = open_database(database_url, writers=1, readers=1)  # as `yinqi data` does
        keys = seal_database(beside, folder).keys
        assert beside.run_sync(keys.rewrap) == 2
        assert beside.run_sync(keys.rewrap) == 0
        some_more()
        assert beside.run_sync(keys.rotate) == 1
        old.unlink()
        some_more()
    finally:
        stop.set()
        worker.join()
    assert errors == []
    states = beside.read_sync(list_data_keys)
    assert sorted(state.state for state in states) == ["active", "index", "old"]
    assert wrapped_by(states) == {WrappingKeys(folder).read()[-1].key_id.hex()}
    again = open_database(database_url)
    seal_database(again, folder)
    initiate(again, [new_payment("AFTER")])
    for key in [*taken, "AFTER"]:
        assert get(again, key).order_bytes == new_payment(key).order_bytes
    assert new.exists()


def test_rotated_data_keys_are_noticed_by_services_that_run(
    clear_database: Database,
    database_url: str,
    open_database: Callable[..., Database],
    seal_database: Seal,
    tmp_path: Path,
):
    clock = FixedClock(NOW)
    sealing = seal_database(clear_database, tmp_path / "kek", clock)
    initiate(clear_database, [new_payment("A")])
    beside = open_database(database_url, writers=1, readers=1)
    beside_keys = seal_database(beside, tmp_path / "kek", FixedClock(NOW + timedelta(seconds=1))).keys
    before = clear_database.run_sync(lambda c: sealing.keys.sealing(c, "").key_id)
    beside.run_sync(beside_keys.rotate)
    initiate(beside, [new_payment("B")])
    assert get(clear_database, "B").debtor_account == DEBTOR_ACCOUNT  # reads what a key it has not seen has sealed
    assert clear_database.run_sync(lambda c: sealing.keys.sealing(c, "").key_id) != before


def test_a_changed_data_key_is_named(
    payment_database: Database, tmp_path: Path, open_database, database_url, seal_database
):
    initiate(payment_database, [new_payment("A")])
    payment_database.run_sync(
        lambda c: c.execute(text("UPDATE data_keys SET company = 'x' WHERE state = 'active'")) and None
    )
    with pytest.raises(Exception, match="cannot be used: its row was changed"):
        seal_database(open_database(database_url), tmp_path / "kek")


def test_a_missing_key_encryption_key_is_named(payment_database, tmp_path, open_database, database_url, seal_database):
    initiate(payment_database, [new_payment("A")])
    with pytest.raises(WrappingKeyInvalid, match="Put it back"):
        seal_database(open_database(database_url), tmp_path / "other")
