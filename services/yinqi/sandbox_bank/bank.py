"""The bank as an object: give it a form, get what goes back on the wire; tell it to tick, and it executes.

It knows no HTTP. Time and tokens are passed in, so the same object runs in a server and in a simulation.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from yinqi.sandbox_bank.book import Book, create_account, get_setting, put_setting
from yinqi.sandbox_bank.business_day import roll_to, schedule, something_due
from yinqi.sandbox_bank.clock import DAY_MS, BusinessClock, WallClock, china_date, china_time
from yinqi.sandbox_bank.config import BankConfig
from yinqi.sandbox_bank.envelope import Json, Opened, open_request, seal_answer
from yinqi.sandbox_bank.errors import GatewayError, MessageRefused
from yinqi.sandbox_bank.execution import execute_due, next_due_at
from yinqi.sandbox_bank.fault_counters import load_counters, store_counters
from yinqi.sandbox_bank.fault_script import Script, parse_script
from yinqi.sandbox_bank.faults import MESSAGE_ACTIONS, take_message_actions
from yinqi.sandbox_bank.functions import QUERIES, SUBMITS, Question, submit_answer
from yinqi.sandbox_bank.keys import KeyRing
from yinqi.sandbox_bank.looseness import write_records
from yinqi.sandbox_bank.receiving import Reception, receive
from yinqi.sandbox_bank.submission import read_submission, visible_line


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the transport must do: wait, then answer with status and body, or cut the connection when body is None.

    late: work to do `late_ms` after the connection was cut.
    """

    status: int
    body: bytes | None
    outcome: str
    lines: int = 0
    wait_ms: int = 0
    late: Callable[[], object] | None = None
    late_ms: int = 0


class Bank:
    """One sandbox bank over one book."""

    def __init__(self, config: BankConfig, wall_ms: WallClock, token: Callable[[], str]) -> None:
        """Open the book and the keys; `token` gives short unique texts for rspid."""
        self.config = config
        self.book = Book(config.database)
        self.keys = KeyRing(config.keys_dir)
        self._token = token
        self._reqids_of_queries: dict[tuple[str, str], int] = {}  # oldest first
        self._reqids_lock = threading.Lock()
        with self.book.write() as connection:
            self.clock = _load_clock(connection, wall_ms)
            for account in config.accounts:
                create_account(connection, account.account, account.currency, account.name, account.opening)
            self.script = self._load_script(connection)
            roll_to(connection, self.clock.now_ms())

    def exchange(self, form: Mapping[str, str]) -> Delivery:
        """Answer one posted form; whatever was recorded is on disk when this returns."""
        try:
            opened = open_request(form, self.keys, self.clock.wall_ms())
            faults = self._message_faults(opened)
            return self._deliver(opened, faults)
        except GatewayError as error:
            return Delivery(200, str(error).encode("utf-8"), error.code)

    def tick(self) -> int:
        """Execute what is due and pass business days; how many payments were looked at."""
        with self.book.read() as connection:
            now_ms = self.clock.now_ms()
            due_at = next_due_at(connection)
            idle = (due_at is None or due_at > now_ms) and not something_due(connection, now_ms)
        if idle:
            return 0
        with self.book.write() as connection:
            now_ms = self.clock.now_ms()
            roll_to(connection, now_ms)
            return execute_due(connection, now_ms)

    def wait_ms(self) -> int | None:
        """How long until the next payment falls due; None when nothing waits or business time stands still."""
        with self.book.read() as connection:
            due_at = next_due_at(connection)
        now_ms = self.clock.now_ms()
        if due_at is None or (self.clock.frozen_at_ms is not None and due_at > now_ms):
            return None
        return max(0, due_at - now_ms)

    def move_clock(self, move: Callable[[BusinessClock], None]) -> None:
        """Change business time: what is due by the old time is executed first, on its own date."""
        with self.book.write() as connection:
            while execute_due(connection, self.clock.now_ms()):
                pass
            before = (self.clock.offset_ms, self.clock.frozen_at_ms)
            try:
                move(self.clock)
                _store_clock(connection, self.clock)
                roll_to(connection, self.clock.now_ms())
            except BaseException:
                self.clock.offset_ms, self.clock.frozen_at_ms = before
                raise

    def load_script(self, text: str) -> Script:
        """Replace the fault script; ScriptError leaves the old one in force."""
        script = parse_script(text)
        with self.book.write() as connection:
            put_setting(connection, "script", text)
            schedule(connection, script.entries, china_date(self.clock.now_ms()))
            roll_to(connection, self.clock.now_ms())
        self.script = script
        return script

    def permission(self, name: str) -> bool:
        """Whether the users may `pay` or `query`; set by the control API."""
        with self.book.read() as connection:
            return get_setting(connection, f"permission.{name}") != "N"

    def close(self) -> None:
        """Finish running transactions and close the book."""
        self.book.close()

    def _load_script(self, connection: sqlite3.Connection) -> Script:
        """The script of the file when the file is new or changed, else the one last in force (perhaps posted)."""
        text = get_setting(connection, "script") or ""
        if self.config.script is not None:
            from_file = self.config.script.read_text("utf-8")
            digest = hashlib.sha256(from_file.encode()).hexdigest()
            if get_setting(connection, "script_file") != digest:
                text = from_file
                put_setting(connection, "script_file", digest)
        script = parse_script(text)
        put_setting(connection, "script", text)
        schedule(connection, script.entries, china_date(self.clock.now_ms()))
        return script

    def _message_faults(self, opened: Opened) -> Mapping[str, Mapping[str, Any]]:
        rules = [rule for rule in self.script.rules if not set(MESSAGE_ACTIONS).isdisjoint(rule.actions)]
        if not rules:
            return {}
        try:
            submission = read_submission(opened.function, opened.body) if opened.function in SUBMITS else None
        except MessageRefused:
            submission = None
        lines = [visible_line(submission, line) for line in submission.lines] if submission else []
        with self.book.write() as connection:
            counters = load_counters(connection)
            faults = take_message_actions(rules, counters, opened.function, lines)
            store_counters(connection, counters)
        return faults

    def _deliver(self, opened: Opened, faults: Mapping[str, Mapping[str, Any]]) -> Delivery:
        if "lose_request" in faults:
            return Delivery(0, None, "lose_request")
        if "late_request" in faults:
            late_ms = int(faults["late_request"]["milliseconds"])
            return Delivery(0, None, "late_request", late=lambda: self._perform(opened), late_ms=late_ms)
        broken = faults.get("gateway_error")
        if broken and not broken["processed"]:
            return Delivery(int(broken["status"]), broken["text"].encode("utf-8"), "gateway_error")
        code, response, lines = self._perform(opened)
        wait_ms = int(faults.get("slow", {}).get("milliseconds", 0))
        if "lose_answer" in faults:
            return Delivery(0, None, "lose_answer", lines, wait_ms)
        if broken:
            return Delivery(int(broken["status"]), broken["text"].encode("utf-8"), "gateway_error", lines, wait_ms)
        spoil = "wrong_signature" in faults
        sealed = seal_answer(response, opened.user_id, self.keys, self.clock.wall_ms(), spoil_signature=spoil)
        return Delivery(200, sealed, code, lines, wait_ms)

    def _perform(self, opened: Opened) -> tuple[str, Json, int]:
        """Run the function; result code, signed part of the answer, and how many lines it was about."""
        code, text, lines = "SUC0000", "", 0
        body: Json = {}
        try:
            body, lines = self._submit(opened) if opened.function in SUBMITS else self._query(opened)
        except MessageRefused as refused:
            code, text = refused.code, refused.text
        stamp = china_time(self.clock.wall_ms()).strftime("%Y%m%d%H%M%S")
        head = {
            "funcode": opened.function,
            "userid": opened.user_id,
            "reqid": opened.reqid,
            "rspid": f"{stamp}{self._token()}",
            "resultcode": code,
            "resultmsg": text,
            "bizcode": "",
        }
        return code, {"head": head, "body": body}, lines

    def _submit(self, opened: Opened) -> tuple[Json, int]:
        submission = read_submission(opened.function, opened.body)
        if not self.permission("pay"):
            raise MessageRefused("NTF0003", "user may not pay 用户无经办权限")
        with self.book.write() as connection:
            now_ms = self.clock.now_ms()
            roll_to(connection, now_ms)
            _remember_reqid(connection, opened, self.clock.wall_ms())
            reception = Reception(opened.user_id, now_ms, self.config.execution_delay_ms, self.script.rules)
            answers = receive(connection, submission, reception)
        return self._written(submit_answer(submission, answers)), len(answers)

    def _query(self, opened: Opened) -> tuple[Json, int]:
        function = QUERIES.get(opened.function)
        if function is None:
            raise MessageRefused("NTF0002", "function unknown 交易码不存在")
        self._remember_query(opened)
        may_pay, may_query = self.permission("pay"), self.permission("query")
        with self.book.read() as connection:
            question = Question(opened.user_id, opened.body, self.clock.now_ms(), may_pay, may_query)
            body = function(connection, question)
        return self._written(body), len(next(iter(body.values())))

    def _written(self, body: Mapping[str, Any]) -> Json:
        return {name: write_records(records, loose=self.config.loose_answers) for name, records in body.items()}

    def _remember_query(self, opened: Opened) -> None:
        """Refuse a query's reqid seen within a day; kept in memory because repeating a query harms nobody."""
        now_ms, seen = self.clock.wall_ms(), self._reqids_of_queries
        with self._reqids_lock:
            while seen and seen[oldest := next(iter(seen))] < now_ms - DAY_MS:
                del seen[oldest]
            if (opened.user_id, opened.reqid) in seen:
                raise _reqid_used()
            seen[opened.user_id, opened.reqid] = now_ms


def _reqid_used() -> GatewayError:
    return GatewayError("REQ0002", "reqid was used before 请求号重复")


def _remember_reqid(connection: sqlite3.Connection, opened: Opened, wall_ms: int) -> None:
    connection.execute("DELETE FROM messages WHERE received_at < ?", (wall_ms - DAY_MS,))
    try:
        connection.execute("INSERT INTO messages VALUES (?, ?, ?)", (opened.user_id, opened.reqid, wall_ms))
    except sqlite3.IntegrityError:
        raise _reqid_used() from None


def _load_clock(connection: sqlite3.Connection, wall_ms: WallClock) -> BusinessClock:
    frozen = get_setting(connection, "clock.frozen_at_ms")
    offset = get_setting(connection, "clock.offset_ms")
    return BusinessClock(wall_ms, int(offset or 0), int(frozen) if frozen else None)


def _store_clock(connection: sqlite3.Connection, clock: BusinessClock) -> None:
    put_setting(connection, "clock.offset_ms", str(clock.offset_ms))
    put_setting(connection, "clock.frozen_at_ms", "" if clock.frozen_at_ms is None else str(clock.frozen_at_ms))
