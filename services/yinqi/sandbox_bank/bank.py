"""The bank as an object, in one process, without network, threads of its own or real time.

Entry points for whoever drives it (the HTTP server, or a simulation):

    bank = Bank(BankConfig(database=None), wall_ms, token, seed=7)   # None: the book lives in memory
    effects = bank.handle(Message("U1", "BB1PAYBH", body))           # plain in, plain out: no SM2, SM4, HTTP
    bank.tick()                    # do what has fallen due: late messages, executions, returns, business days
    bank.wait_ms()                 # real milliseconds until tick or take_notices has work; None: nothing waits
    for notice in bank.take_notices():
        bank.notice_answered(notice, acknowledged=True)
    bank.move_clock(lambda clock: clock.advance(DAY_MS))             # business time: jump, run(rate), freeze
    bank.load_script(toml_text)    # faults; bank.fired() lists those that struck
    bank.judge()                   # what was really debited, how often, for which reference

Time comes from `wall_ms` alone and randomness from `token` and the script's seed: the same calls at the same times give the same
book, byte for byte. The sealed form of the same bank, forms in and bytes out, is `sealed.SealedBank`.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from yinqi.sandbox_bank.asked import Asked
from yinqi.sandbox_bank.book import Book, create_account, get_setting, put_setting
from yinqi.sandbox_bank.business_day import next_day_work_at, roll_to, schedule, something_due
from yinqi.sandbox_bank.clock import DAY_MS, BusinessClock, WallClock, china_date, china_time
from yinqi.sandbox_bank.config import BankConfig
from yinqi.sandbox_bank.effects import Effects, Ending, Json, Message, Notice, plain_error, too_many_calls
from yinqi.sandbox_bank.errors import GatewayError, MessageRefused
from yinqi.sandbox_bank.execution import execute_due, next_due_at
from yinqi.sandbox_bank.fault_catalog import Scope
from yinqi.sandbox_bank.fault_script import Script, loaded_at, parse_script
from yinqi.sandbox_bank.fault_tally import fired_report, load_tally, store_tally
from yinqi.sandbox_bank.faults import Actions, Line, Moment, take_message_faults
from yinqi.sandbox_bank.functions import QUERIES, SUBMITS, submit_answer, visible_subjects
from yinqi.sandbox_bank.judge import book_report
from yinqi.sandbox_bank.looseness import write_records
from yinqi.sandbox_bank.notices import (
    Making,
    acknowledge,
    forget_the_past,
    make_notices,
    next_notice_at,
    notice_counts,
    take_due_notices,
)
from yinqi.sandbox_bank.receiving import Reception, receive
from yinqi.sandbox_bank.signing_time import check_signing_time
from yinqi.sandbox_bank.slots import Slots
from yinqi.sandbox_bank.submission import Submission, read_submission, visible_line

NOTICES_AT_ONCE = 100
SUBJECT_MAX = 64  # What a fired fault is listed by; a caller may send any length.


class Bank:
    """One sandbox bank over one book."""

    def __init__(
        self, config: BankConfig, wall_ms: WallClock, token: Callable[[], str], *, seed: int | None = None
    ) -> None:
        """Open the book.

        Args:
            wall_ms: real time, milliseconds since 1970.
            token: short unique texts for rspid.
            seed: replaces the seed of every script.
        """
        self.config = config
        self.book = Book(config.database)
        self.slots = Slots(config.submits_max, config.queries_max)
        self._token, self._seed = token, seed
        self._reqids_of_queries: dict[tuple[str, str], int] = {}  # oldest first
        self._late: list[tuple[int, int, Message]] = []  # a heap by real due time, then by arrival
        self._late_count = 0
        self._lock = threading.Lock()  # of the three above
        with self.book.write() as connection:
            self.clock = _load_clock(connection, wall_ms)
            for account in config.accounts:
                create_account(connection, account.account, account.currency, account.name, account.opening)
            self._take_over(self._load_script(connection), connection)
            self._permissions = {
                name: get_setting(connection, f"permission.{name}") != "N" for name in ("pay", "query")
            }
            self._blind_until_ms = int(get_setting(connection, "blind_until_ms") or 0)
            self._users = (get_setting(connection, "users") or "").split()
            stored_url = get_setting(connection, "notice_url")
            self.notice_url = config.notice_url if config.notice_url or stored_url is None else stored_url
            if self.notice_url and not stored_url:
                forget_the_past(connection)
            put_setting(connection, "notice_url", self.notice_url)
            roll_to(connection, self.clock.now_ms())

    # --- messages ---

    def handle(self, message: Message) -> Effects:
        """Answer one message; whatever was recorded is on disk when this returns."""
        try:
            return self._answer(message, self._faults_of(message))
        except GatewayError as error:
            return plain_error(error)

    def tick(self) -> int:
        """Process late messages, execute what is due and pass business days; how much was looked at."""
        late = self._perform_late()
        with self.book.read() as connection:
            now_ms = self.clock.now_ms()
            due_at = next_due_at(connection)
            idle = (due_at is None or due_at > now_ms) and not something_due(connection, now_ms)
        if idle:
            return late
        with self.at_one_instant() as (connection, now_ms):
            return late + execute_due(connection, now_ms)

    def wait_ms(self, *, notices: bool = True) -> int | None:
        """Real time until something falls due, also returns, scheduled entries and notices; None when nothing waits."""
        with self.book.read() as connection:
            business = (next_due_at(connection), next_day_work_at(connection))
            notice_at = next_notice_at(connection) if notices and self.notice_url else None
        waits = [self.clock.wall_ms_until(at) for at in business if at is not None]
        with self._lock:
            late_at = self._late[0][0] if self._late else None
        waits += [max(0, at - self.clock.wall_ms()) for at in (notice_at, late_at) if at is not None]
        return min((wait for wait in waits if wait is not None), default=None)

    @contextmanager
    def at_one_instant(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """One transaction at one business time: earlier days are closed first, and what changed is noticed."""
        with self.book.write() as connection:
            now_ms = self.clock.now_ms()
            roll_to(connection, now_ms)
            yield connection, now_ms
            self._make_notices(connection, now_ms)

    # --- notices ---

    def take_notices(self) -> list[Notice]:
        """What is to be sent now, in order; unacknowledged ones are due again later."""
        if not self.notice_url:
            return []
        wall_ms = self.clock.wall_ms()
        with self.book.read() as connection:
            due_at = next_notice_at(connection)
        if due_at is None or due_at > wall_ms:
            return []
        with self.book.write() as connection:
            return take_due_notices(connection, wall_ms, NOTICES_AT_ONCE)

    def notice_answered(self, notice: Notice, *, acknowledged: bool) -> None:
        """What came of one notice; forged and repeated ones count for nothing."""
        if acknowledged and not notice.forged and not notice.repeated:
            with self.book.write() as connection:
                acknowledge(connection, notice.number, self.clock.wall_ms())

    def notify(self, url: str) -> None:
        """Send notices to this address from now on; an empty one ends them."""
        with self.book.write() as connection:
            if url and not self.notice_url:
                forget_the_past(connection)
            put_setting(connection, "notice_url", url)
            self.notice_url = url

    # --- what an operator may do ---

    def move_clock(self, move: Callable[[BusinessClock], None]) -> None:
        """Change business time: what is due by the old time is executed first, on its own date."""
        with self.book.write() as connection:
            while execute_due(connection, self.clock.now_ms()):
                pass
            before = self.clock.line
            try:
                move(self.clock)
                put_setting(connection, "clock.line", " ".join(map(str, self.clock.line)))
                roll_to(connection, self.clock.now_ms())
                self._make_notices(connection, self.clock.now_ms())
            except BaseException:
                self.clock.line = before
                raise

    def load_script(self, text: str) -> Script:
        """Replace the fault script; ScriptError leaves the old one in force."""
        script = parse_script(text, seed=self._seed)
        with self.at_one_instant() as (connection, now_ms):
            put_setting(connection, "script", text)
            put_setting(connection, "script_loaded_ms", str(now_ms))
            script = loaded_at(script, now_ms)
            self._take_over(script, connection)
            roll_to(connection, now_ms)
        return script

    def grant(self, name: str, *, granted: bool) -> None:
        """Give or take the users' right to `pay` or to `query`."""
        with self.book.write() as connection:
            put_setting(connection, f"permission.{name}", "Y" if granted else "N")
        self._permissions[name] = granted

    def permission(self, name: str) -> bool:
        """Whether the users may `pay` or `query`."""
        return self._permissions[name] and (name == "pay" or self.clock.now_ms() >= self._blind_until_ms)

    def judge(self, *, with_payments: bool = True) -> dict[str, Any]:
        """What the book says about itself: debits by reference, double debits, integrity."""
        with self.book.read() as connection:
            return book_report(connection, with_payments=with_payments)

    def fired(self, *, limit: int = 100) -> Mapping[str, Any]:
        """Which faults struck, how often, and the last of them."""
        with self.book.read() as connection:
            return fired_report(connection, self.script, limit)

    def notice_counts(self) -> Mapping[str, Any]:
        """Where notices go, and how many were made, acknowledged, are waiting."""
        with self.book.read() as connection:
            return {"url": self.notice_url, **notice_counts(connection)}

    def close(self) -> None:
        """Finish running transactions and close the book."""
        self.book.close()

    # --- inside ---

    def _take_over(self, script: Script, connection: sqlite3.Connection) -> None:
        schedule(connection, script.entries, china_date(self.clock.now_ms()))
        self.script = script
        self._line_rules = script.of("line")
        self._message_rules = script.of("message", "query")
        self._notice_rules = script.of("notice")

    def _load_script(self, connection: sqlite3.Connection) -> Script:
        """The script of the file when the file is new or changed, else the one last in force (perhaps posted)."""
        text = get_setting(connection, "script") or ""
        loaded_ms = int(get_setting(connection, "script_loaded_ms") or self.clock.now_ms())
        if self.config.script is not None:
            from_file = self.config.script.read_text("utf-8")
            digest = hashlib.sha256(from_file.encode()).hexdigest()
            if get_setting(connection, "script_file") != digest:
                text, loaded_ms = from_file, self.clock.now_ms()
                put_setting(connection, "script_file", digest)
        script = parse_script(text, seed=self._seed)
        put_setting(connection, "script", text)
        put_setting(connection, "script_loaded_ms", str(loaded_ms))
        return loaded_at(script, loaded_ms)

    def _moment(self, now_ms: int) -> Moment:
        return Moment(now_ms, now_ms - self.script.loaded_ms)

    def _faults_of(self, message: Message) -> Actions:
        rules = self._message_rules
        if not rules:
            return {}
        if message.function in SUBMITS:
            lines: Sequence[Line] = _visible_lines(message)
        else:
            lines = visible_subjects(message.function, message.body)
        listed_as = lines[0].reference if lines and lines[0].reference else message.reqid
        scopes: set[Scope] = {"message"} if message.function in SUBMITS else {"message", "query"}
        with self.book.write() as connection:
            now_ms, tally = self.clock.now_ms(), load_tally(connection)
            seen = Line(message.function, 0, reference=listed_as[:SUBJECT_MAX])
            faults = take_message_faults(rules, tally, scopes, seen, lines, self._moment(now_ms))
            store_tally(connection, tally, now_ms)
        return faults

    def _answer(self, message: Message, faults: Actions) -> Effects:
        wall_ms = self.clock.wall_ms() + int(faults.get("clock_skew", {}).get("seconds", 0)) * 1000
        if message.sigtim:
            check_signing_time(message.sigtim, wall_ms)
        if "maintenance" in faults:
            return _text("maintenance", faults["maintenance"])
        if "refuse_concurrent" in faults:
            return too_many_calls()
        if "lose_request" in faults:
            return Effects("lose_request", ending=Ending.CUT)
        if "late_request" in faults:
            return self._postpone(message, int(faults["late_request"]["milliseconds"]))
        half_open, broken = faults.get("half_open"), faults.get("gateway_error")
        if half_open and not half_open["processed"]:
            return _silence(half_open)
        if broken and not broken["processed"]:
            return _text("gateway_error", broken)
        code, response, lines = self._perform(message, faults, wall_ms)
        wait_ms = int(faults.get("slow", {}).get("milliseconds", 0))
        if half_open:
            return _silence(half_open, lines)
        if "lose_answer" in faults:
            return Effects("lose_answer", lines=lines, wait_ms=wait_ms, ending=Ending.CUT)
        if broken:
            return _text("gateway_error", broken, lines, wait_ms)
        midway = faults.get("cut_answer")
        return Effects(
            code,
            response,
            lines=lines,
            wait_ms=wait_ms,
            ending=Ending.CUT_MIDWAY if midway else Ending.ANSWERED,
            cut_after_bytes=int(midway["bytes"]) if midway else 0,
            spoil_signature="wrong_signature" in faults,
            signed_at_ms=wall_ms,
        )

    def _postpone(self, message: Message, by_ms: int) -> Effects:
        with self._lock:
            self._late_count += 1
            heapq.heappush(self._late, (self.clock.wall_ms() + by_ms, self._late_count, message))
        return Effects("late_request", ending=Ending.CUT)

    def _perform_late(self) -> int:
        performed = 0
        while True:
            with self._lock:
                if not self._late or self._late[0][0] > self.clock.wall_ms():
                    return performed
                message = heapq.heappop(self._late)[2]
            with contextlib.suppress(GatewayError):
                self._perform(message, {}, self.clock.wall_ms())
            performed += 1

    def _perform(self, message: Message, faults: Actions, wall_ms: int) -> tuple[str, Json, int]:
        """Run the function; result code, signed part of the answer, and how many lines it was about."""
        code, text, lines = "SUC0000", "", 0
        body: Json = {}
        try:
            is_submit = message.function in SUBMITS
            body, lines = self._submit(message) if is_submit else self._query(message, faults)
        except MessageRefused as refused:
            code, text = refused.code, refused.text
        stamp = china_time(wall_ms).strftime("%Y%m%d%H%M%S")
        head = {
            "funcode": message.function,
            "userid": message.user_id,
            "reqid": message.reqid,
            "rspid": f"{stamp}{self._token()}",
            "resultcode": code,
            "resultmsg": text,
            "bizcode": "",
        }
        return code, {"head": head, "body": body}, lines

    def _submit(self, message: Message) -> tuple[Json, int]:
        submission = read_submission(message.function, message.body)
        if not self.permission("pay"):
            raise MessageRefused("NTF0003", "user may not pay 用户无经办权限")
        with self.at_one_instant() as (connection, now_ms):
            _remember_reqid(connection, message, self.clock.wall_ms())
            self._remember_user(connection, message.user_id)
            moment = self._moment(now_ms)
            reception = Reception(message.user_id, moment, self.config.execution_delay_ms, self._line_rules)
            answers = receive(connection, submission, reception)
        return self._written(submit_answer(submission, answers)), len(answers)

    def _query(self, message: Message, faults: Actions) -> tuple[Json, int]:
        function = QUERIES.get(message.function)
        if function is None:
            raise MessageRefused("NTF0002", "function unknown 交易码不存在")
        self._remember_query(message)
        blind = self._blinded(faults)
        _refuse_query(message.function, faults)
        with self.book.read() as connection:
            may_query = self.permission("query") and not blind
            now_ms = self.clock.now_ms()
            asked = Asked(message.user_id, message.body, now_ms, self.permission("pay"), may_query, faults)
            body = function(connection, asked)
        return self._written(body), len(next(iter(body.values())))

    def _blinded(self, faults: Actions) -> bool:
        """Whether this query's user may not look, because the fault strikes now; it may last."""
        blind = faults.get("blind_query")
        if blind and blind["for_seconds"]:
            until_ms = self.clock.now_ms() + int(blind["for_seconds"]) * 1000
            with self.book.write() as connection:
                put_setting(connection, "blind_until_ms", str(until_ms))
            self._blind_until_ms = until_ms
        return blind is not None

    def _written(self, body: Mapping[str, Any]) -> Json:
        return {name: write_records(records, loose=self.config.loose_answers) for name, records in body.items()}

    def _make_notices(self, connection: sqlite3.Connection, now_ms: int) -> None:
        if self.notice_url:
            wall_ms, loose = self.clock.wall_ms(), self.config.loose_answers
            make_notices(connection, Making(wall_ms, self._moment(now_ms), self._users, self._notice_rules, loose))

    def _remember_user(self, connection: sqlite3.Connection, user_id: str) -> None:
        if user_id not in self._users:
            self._users.append(user_id)
            put_setting(connection, "users", " ".join(self._users))

    def _remember_query(self, message: Message) -> None:
        """Refuse a query's reqid seen within a day; kept in memory because repeating a query harms nobody."""
        if not message.reqid:
            return
        now_ms, seen = self.clock.wall_ms(), self._reqids_of_queries
        with self._lock:
            while seen and seen[oldest := next(iter(seen))] < now_ms - DAY_MS:
                del seen[oldest]
            if (message.user_id, message.reqid) in seen:
                raise _reqid_used()
            seen[message.user_id, message.reqid] = now_ms


def _visible_lines(message: Message) -> list[Line]:
    try:
        submission: Submission = read_submission(message.function, message.body)
    except MessageRefused:
        return []
    return [visible_line(submission, line) for line in submission.lines]


def _refuse_query(function: str, faults: Actions) -> None:
    """The ways in which a blind or out-of-window query is answered with a code."""
    says = faults.get("blind_query", {}).get("answer")
    if says == "not_found" and function != "DCLISACC":
        raise MessageRefused("NTF0008", "no such record 记录不存在")
    if says == "no_permission" and function != "DCLISACC":
        raise MessageRefused("NTF0003", "user may not query 用户无查询权限")
    if faults.get("out_of_window", {}).get("answer") == "refused":
        raise MessageRefused("NTF0006", "the dates are outside the bank's window 查询日期超限")


def _text(outcome: str, fault: Mapping[str, Any], lines: int = 0, wait_ms: int = 0) -> Effects:
    return Effects(outcome, text=fault["text"], status=int(fault["status"]), lines=lines, wait_ms=wait_ms)


def _silence(fault: Mapping[str, Any], lines: int = 0) -> Effects:
    return Effects("half_open", lines=lines, wait_ms=int(fault["milliseconds"]), ending=Ending.HALF_OPEN)


def _reqid_used() -> GatewayError:
    return GatewayError("REQ0002", "reqid was used before 请求号重复")


def _remember_reqid(connection: sqlite3.Connection, message: Message, wall_ms: int) -> None:
    if not message.reqid:
        return
    connection.execute("DELETE FROM messages WHERE received_at < ?", (wall_ms - DAY_MS,))
    try:
        connection.execute("INSERT INTO messages VALUES (?, ?, ?)", (message.user_id, message.reqid, wall_ms))
    except sqlite3.IntegrityError:
        raise _reqid_used() from None


def _load_clock(connection: sqlite3.Connection, wall_ms: WallClock) -> BusinessClock:
    stored = (get_setting(connection, "clock.line") or "").split()
    return BusinessClock(wall_ms, (int(stored[0]), int(stored[1]), float(stored[2])) if stored else None)
