"""What each fault does to those who call: seen in plain messages and virtual time, judged by the bank's own book."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from yinqi.sandbox_bank.clock import DAY_MS
from yinqi.sandbox_bank.effects import Ending

from .plain_bank import CNY, OTHER, PlainBank
from .wire_client import batch, cents, line


def rule(text: str) -> str:
    return f"[[rule]]\n{text}\n"


# --- when a rule holds ---


def test_a_window_of_the_banks_clock_may_cross_midnight() -> None:
    bank = PlainBank(rule('when = { time = "22:00-02:00" }\nmaintenance = true'))
    open_at = []
    for hour in range(24):
        effects = bank.send("DCLISACC")
        open_at += [(8 + hour) % 24] if effects.response else []
        assert effects.response or effects.text.startswith("CDCServer:SYS0002")
        bank.passes(3_600)
    assert sorted({22, 23, 0, 1} | set(open_at)) == list(range(24))
    assert not {22, 23, 0, 1} & set(open_at)


def test_days_and_weekdays_select() -> None:
    bank = PlainBank(rule('when = { day = ["sat", "2026-11-04"] }\nmaintenance = true'))
    closed = []
    for _ in range(7):
        closed += [] if bank.send("DCLISACC").response else [bank.today.isoformat()]
        bank.bank.move_clock(lambda clock: clock.advance(DAY_MS))
    assert closed == ["2026-11-04", "2026-11-07"]


def test_elapsed_time_counts_from_the_loading_of_the_script_and_jumps_with_the_clock() -> None:
    bank = PlainBank(rule("when = { elapsed_min = 60, elapsed_max = 120 }\nmaintenance = true"))
    open_ = [bool(bank.send("DCLISACC").response)]
    for seconds in (59, 1, 59, 1):
        bank.passes(seconds)
        open_.append(bool(bank.send("DCLISACC").response))
    assert open_ == [True, True, False, False, True]


def test_a_chance_on_messages_is_drawn_anew_for_each_and_the_same_in_every_run() -> None:
    script = rule('name = "luck"\nwhen = { function = "BB1PAYQR", chance = 0.3 }\ntimes = 1000\nlose_answer = true')

    def lost(seed: int) -> list[bool]:
        bank = PlainBank(script, seed=seed)
        return [bank.ask("R1").ending is Ending.CUT for _ in range(200)]

    assert lost(1) == lost(1) != lost(2)
    assert 30 < sum(lost(1)) < 90


def test_a_rule_may_look_at_the_account_a_query_asks_about() -> None:
    bank = PlainBank(rule(f'when = {{ account = "{OTHER}" }}\nlose_answer = true'))
    assert bank.send("NTQADINF", {"ntqadinfx1": [{"accNbr": CNY}]}).ending is Ending.ANSWERED
    assert bank.send("NTQADINF", {"ntqadinfx1": [{"accNbr": CNY}, {"accNbr": OTHER}]}).ending is Ending.CUT


# --- lines ---


@pytest.mark.parametrize(("debited", "moved"), [("never", (0, 0)), ("before", (1, 1))])
def test_a_late_reject_comes_an_hour_after_the_payment_was_taken(debited: str, moved: tuple[int, int]) -> None:
    bank = PlainBank(rule(f'late_reject = {{ after_seconds = 3600, debited = "{debited}", code = "RJC7" }}'))
    bank.pay("R1")
    bank.passes(3_000)
    assert bank.found("R1") == {"R1": ("BNK", "", "SUC0000")}
    bank.passes(700)
    assert bank.found("R1") == {"R1": ("FIN", "F", "RJC7")}
    judged = bank.payment("R1")
    assert (judged["times_debited"], judged["times_credited"], judged["net_debited"]) == (*moved, "0.00")


def test_a_failed_duplicate_guard_debits_whatever_is_sent_again() -> None:
    bank = PlainBank(rule("accept_duplicate = true"))
    bank.pay("R1")
    bank.passes(1)
    assert bank.counts() == {}
    bank.pay("R1")
    bank.passes(1)
    judged = bank.judged()
    assert (judged["double_debits"], judged["double_debited_references"]) == (1, ["R1"])
    assert bank.counts() == {"accept_duplicate": 1}


def test_a_bank_that_debits_twice_by_itself_is_convicted_by_its_own_book() -> None:
    bank = PlainBank(rule("when = { reference = 'R1' }\ndouble_debit = true"))
    bank.pay("R1", "R2")
    bank.passes(1)
    assert bank.judged()["double_debited_references"] == ["R1"]
    assert bank.payment("R1")["debited"] == "200.00"


@pytest.mark.parametrize("intraday", ["shown", "hidden"])
def test_day_end_puts_one_sum_in_the_place_of_the_days_sweeps_and_the_day_still_adds_up(intraday: str) -> None:
    bank = PlainBank(rule(f'when = {{ reference = "SWEEP*" }}\nrewrite_entries = {{ intraday = "{intraday}" }}'))
    bank.pay("R1", "SWEEP1", "SWEEP2", "R2", "SWEEP3")
    bank.passes(1)
    first = bank.today
    seen = [one["yurRef"] for one in bank.day(first)[0]]
    assert seen == (["R1", "R2"] if intraday == "hidden" else ["R1", "SWEEP1", "SWEEP2", "R2", "SWEEP3"])
    bank.passes(days=1)
    entries, day = bank.day(first)
    assert [(one["yurRef"], one["trsAmt"]) for one in entries] == [
        ("R1", "-100.00"),
        ("R2", "-100.00"),
        ("", "-300.00"),
    ]
    running = cents(day["opnBal"])
    for one in entries:
        running += cents(one["trsAmt"])
        assert cents(one["acctBal"]) == running
    assert running == cents(day["clsBal"])
    assert bank.payment("SWEEP1")["times_debited"] == 1


def test_day_end_may_give_the_same_entries_other_serials() -> None:
    bank = PlainBank(rule('when = { reference = "R2" }\nrewrite_entries = { how = "renumber" }'))
    bank.pay("R1", "R2")
    bank.passes(1)
    before = {one["yurRef"]: one["trxSeq"] for one in bank.day(bank.today)[0]}
    first = bank.today
    bank.passes(days=1)
    after = {one["yurRef"]: one["trxSeq"] for one in bank.day(first)[0]}
    assert after["R1"] == before["R1"]
    assert after["R2"] != before["R2"]


def test_day_end_may_drop_the_payers_reference_and_keep_the_counterparty() -> None:
    bank = PlainBank(rule('when = { reference = "R2" }\nrewrite_entries = { how = "anonymous", intraday = "hidden" }'))
    bank.pay("R1", "R2", "R3")
    bank.passes(1)
    first = bank.today
    assert [one["yurRef"] for one in bank.day(first)[0]] == ["R1", "R3"]
    bank.passes(days=1)
    entries = bank.day(first)[0]
    assert [one["yurRef"] for one in entries] == ["R1", "R3", ""]
    assert entries[2]["oppsiteName"] == entries[0]["oppsiteName"]
    assert entries[2]["trsAmt"] == "-100.00"
    assert bank.payment("R2")["times_debited"] == 1


def test_a_payment_comes_back_after_n_days() -> None:
    bank = PlainBank(rule("return = { after_days = 3 }"))
    bank.pay("R1")
    bank.passes(1)
    for _ in range(3):
        assert bank.found("R1")["R1"][:2] == ("FIN", "S")
        bank.passes(days=1)
    assert bank.found("R1")["R1"][:2] == ("FIN", "B")


# --- messages ---


@pytest.mark.parametrize(
    ("fault", "ending", "recorded"),
    [
        ("lose_request = true", Ending.CUT, False),
        ("lose_answer = true", Ending.CUT, True),
        ("late_request = { milliseconds = 5000 }", Ending.CUT, False),
        ("half_open = true", Ending.HALF_OPEN, True),
        ("half_open = { processed = false }", Ending.HALF_OPEN, False),
        ("cut_answer = { bytes = 10 }", Ending.CUT_MIDWAY, True),
        ("gateway_error = { processed = true }", Ending.ANSWERED, True),
        ("gateway_error = true", Ending.ANSWERED, False),
        ("refuse_concurrent = true", Ending.ANSWERED, False),
        ("wrong_signature = true", Ending.ANSWERED, True),
    ],
)
def test_an_ending_says_nothing_about_whether_the_payment_counts(fault: str, ending: Ending, recorded: bool) -> None:
    bank = PlainBank(rule(f'when = {{ function = "BB1PAYOP" }}\n{fault}'))
    effects = bank.pay("R1")
    assert effects.ending is ending
    assert ("R1" in bank.found("R1")) is recorded
    bank.passes(10)
    assert ("R1" in bank.found("R1")) is (recorded or fault.startswith("late"))
    assert bank.judged()["double_debits"] == 0


def test_a_late_message_waits_for_its_time_and_says_so() -> None:
    bank = PlainBank(rule("late_request = { milliseconds = 5000 }"))
    bank.pay("R1")
    assert bank.bank.wait_ms() == 5_000
    bank.now_ms += 4_999
    assert bank.bank.tick() == 0
    bank.now_ms += 1
    assert bank.bank.tick() == 1
    assert bank.bank.wait_ms() == 300


def test_the_signing_time_is_judged_by_a_clock_that_may_be_wrong() -> None:
    bank = PlainBank(rule("when = { elapsed_min = 10 }\nclock_skew = { seconds = 7200 }"))
    sigtim = "20261102080000"
    assert bank.send("DCLISACC", sigtim=sigtim).outcome == "SUC0000"
    bank.passes(10)
    assert bank.send("DCLISACC", sigtim=sigtim).outcome == "SIG0002"
    effects = bank.send("DCLISACC")
    assert effects.signed_at_ms == bank.now_ms + 7_200_000


def test_the_fifty_first_call_at_a_time_is_one_too_many() -> None:
    slots = PlainBank().bank.slots
    assert [slots.take("BB1PAYBH") for _ in range(51)] == [True] * 50 + [False]
    assert [slots.take("BB1PAYQR") for _ in range(21)] == [True] * 20 + [False]
    slots.give_back("BB1PAYBH")
    assert slots.take("BB1PAYOP")


# --- queries ---


@pytest.mark.parametrize(
    ("answer", "outcome"), [("empty", "SUC0000"), ("not_found", "NTF0008"), ("no_permission", "NTF0003")]
)
def test_a_blind_query_hides_a_payment_that_was_debited(answer: str, outcome: str) -> None:
    bank = PlainBank(rule(f'when = {{ function = "BB1PAYQR" }}\ntimes = 1\nblind_query = {{ answer = "{answer}" }}'))
    bank.pay("R1")
    bank.passes(1)
    effects = bank.ask("R1")
    assert effects.outcome == outcome
    assert not (effects.response or {}).get("body", {}).get("bb1payqrz1")
    assert bank.found("R1")["R1"][1] == "S"


def test_a_right_may_be_gone_for_a_while_and_the_list_of_rights_says_so() -> None:
    bank = PlainBank(rule('when = { function = "BB1PAYQR" }\ntimes = 1\nblind_query = { for_seconds = 60 }'))

    def may_query() -> str:
        effects = bank.send("DCLISACC")
        assert effects.response
        return str(effects.response["body"]["dclisaccz1"][0]["qryFlg"])

    bank.pay("R1")
    assert (may_query(), bank.found("R1"), may_query(), bank.found("R1")) == ("Y", {}, "N", {})
    bank.passes(60)
    assert may_query() == "Y"
    assert list(bank.found("R1")) == ["R1"]


def test_an_empty_answer_may_hide_only_what_is_young() -> None:
    bank = PlainBank(rule('when = { function = "BB1PAYQR" }\ntimes = 9\nempty_query = { younger_than_seconds = 60 }'))
    bank.pay("OLD")
    bank.passes(61)
    bank.pay("NEW")
    assert list(bank.found("OLD", "NEW")) == ["OLD"]
    bank.passes(61)
    assert list(bank.found("OLD", "NEW")) == ["OLD", "NEW"]


def test_a_query_may_be_refused_as_outside_the_window_or_just_be_empty() -> None:
    bank = PlainBank(rule("out_of_window = true") + rule('nth = 2\nout_of_window = { answer = "empty" }'))
    bank.pay("R1")
    assert bank.ask("R1").outcome == "NTF0006"
    assert bank.found("R1") == {}
    assert list(bank.found("R1")) == ["R1"]


@pytest.mark.parametrize("how", ["within", "across"])
def test_misordered_pages_hold_every_entry_once_in_a_wrong_order(how: str) -> None:
    bank = PlainBank()
    bank.send("BB1PAYBH", batch("B1", [line(f"R{n}") for n in range(450)]))
    bank.passes(2)
    right = [one["trxSeq"] for one in bank.day(bank.today)[0]]
    bank.bank.load_script(rule(f'misorder_pages = {{ how = "{how}" }}'))
    wrong = [one["trxSeq"] for one in bank.day(bank.today)[0]]
    assert wrong != right
    assert sorted(wrong) == right


@pytest.mark.parametrize("where", ["opening", "closing", "entry"])
def test_a_statement_may_fail_to_add_up(where: str) -> None:
    bank = PlainBank(rule(f'unbalanced = {{ amount = "0.07", where = "{where}" }}'))
    bank.pay("R1")
    bank.passes(1)

    def gaps() -> dict[str, int]:
        entries, day = bank.day(bank.today)
        moved, last = sum(cents(one["trsAmt"]) for one in entries), cents(entries[-1]["acctBal"])
        opening, closing = cents(day["opnBal"]), cents(day["clsBal"])
        return {"opening": opening + moved - last, "closing": closing - last, "entry": last - opening - moved}

    wrong = gaps()
    assert wrong[where] == 7
    assert set(gaps().values()) == {0}


def test_a_balance_may_be_wrong_by_a_cent() -> None:
    bank = PlainBank(rule('unbalanced = { where = "balance" }'))

    def booked() -> int:
        effects = bank.send("NTQADINF", {"ntqadinfx1": [{"accNbr": CNY}]})
        assert effects.response
        return cents(effects.response["body"]["ntqadinfz1"][0]["onlBal"])

    assert booked() - booked() == 1


# --- the clock and the judge ---


def test_the_clock_runs_at_a_rate_freezes_and_never_goes_back() -> None:
    bank = PlainBank()
    clock, began = bank.bank.clock, bank.bank.clock.now_ms()
    bank.bank.move_clock(lambda clock: clock.run(3_600))
    bank.passes(24)
    assert clock.now_ms() - began == DAY_MS
    bank.pay("R1")
    assert bank.bank.wait_ms() == 1
    bank.bank.move_clock(lambda clock: clock.run(0))
    bank.passes(100)
    assert clock.now_ms() - began == DAY_MS
    assert bank.bank.wait_ms() is None
    bank.bank.move_clock(lambda clock: clock.run(1))
    bank.passes(1)
    assert clock.now_ms() - began == DAY_MS + 1_000
    assert bank.found("R1")["R1"][1] == "S"
    with pytest.raises(ValueError, match="forward"):
        bank.bank.move_clock(lambda clock: clock.advance(-1))


def test_the_next_thing_to_happen_is_known_so_that_a_simulation_can_jump_to_it() -> None:
    bank = PlainBank(rule("return = { after_days = 2 }"))
    assert bank.bank.wait_ms() is None
    bank.pay("R1")
    assert bank.bank.wait_ms() == 300
    bank.passes(0.3)
    wait_ms = bank.bank.wait_ms()
    assert wait_ms is not None
    bank.passes(wait_ms / 1000)
    assert bank.found("R1")["R1"][1] == "B"
    assert bank.today == dt.date(2026, 11, 4)


def test_the_judge_tells_debits_money_back_and_what_was_never_debited() -> None:
    bank = PlainBank(
        rule("when = { reference = 'BACK' }\nreturn = { after_days = 0 }")
        + rule("when = { reference = 'NO' }\nrefuse = true")
    )
    bank.pay("PAID", "BACK", "NO", "PAID")
    bank.passes(1)
    bank.passes(1)
    judged = {one["reference"]: one for one in bank.judged()["payments"]}
    columns = ("debited", "credited", "net_debited", "times_debited", "times_credited", "duplicates_refused")
    assert {name: tuple(one[column] for column in columns) for name, one in judged.items()} == {
        "PAID": ("100.00", "0.00", "100.00", 1, 0, 1),
        "BACK": ("100.00", "100.00", "0.00", 1, 1, 0),
        "NO": ("0.00", "0.00", "0.00", 0, 0, 0),
    }
    assert bank.judged()["never_debited_references"] == ["NO"]


def test_the_same_calls_with_the_same_seed_give_the_same_book_and_the_same_faults() -> None:
    script = (
        "seed = 1\n"
        + rule("when = { chance = 0.2 }\nlate_reject = { after_seconds = 30 }")
        + rule("when = { chance = 0.2 }\ntimes = 99\nlose_answer = true")
        + rule("when = { chance = 0.3 }\ntimes = 99\nforge_notice = true")
    )

    def story(seed: int) -> Any:
        bank = PlainBank(script, seed=seed, notice_url="in-process")
        endings = [bank.pay(f"R{n}").ending for n in range(40)]
        bank.passes(60)
        return endings, bank.notices(), bank.judged(), bank.bank.fired()

    assert story(5) == story(5)
    assert story(5) != story(6)
