"""The control API for tests and demos: clock, script, accounts, entries, the judge. Plain JSON, loopback only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.book import Posting, create_account, post
from yinqi.sandbox_bank.clock import china_date, china_time
from yinqi.sandbox_bank.clock_moves import read_move
from yinqi.sandbox_bank.config import read_account
from yinqi.sandbox_bank.errors import ControlRefused
from yinqi.sandbox_bank.fields import format_serial, parse_amount

Handler = Callable[[Bank, Request, bytes], dict[str, Any]]


def control_routes(bank: Bank, changed: Callable[[], None]) -> list[Route]:
    """Routes under /control; `changed` is called after anything that may make payments due."""

    def route(path: str, handler: Handler, *methods: str) -> Route:
        async def endpoint(request: Request) -> Response:
            if request.client is None or request.client.host not in ("127.0.0.1", "::1"):
                return JSONResponse({"error": "the control API answers on loopback only"}, 403)
            content = await request.body()
            try:
                answer = await run_in_threadpool(handler, bank, request, content)
            except ControlRefused as refused:
                return JSONResponse({"error": str(refused)}, 400)
            changed()
            return JSONResponse(answer)

        return Route(path, endpoint, methods=list(methods))

    return [
        route("/control/book", _book, "GET"),
        route("/control/clock", _clock, "GET", "POST"),
        route("/control/script", _script, "GET", "POST"),
        route("/control/faults", _faults, "GET"),
        route("/control/notices", _notices, "GET", "POST"),
        route("/control/accounts", _accounts, "POST"),
        route("/control/entries", _entries, "POST"),
        route("/control/permissions", _permissions, "POST"),
    ]


def _book(bank: Bank, request: Request, content: bytes) -> dict[str, Any]:
    with_payments = request.query_params.get("payments", "true") != "false"
    return {"clock": _now(bank), **bank.judge(with_payments=with_payments)}


def _clock(bank: Bank, request: Request, content: bytes) -> dict[str, Any]:
    if request.method == "POST":
        bank.move_clock(read_move(_object(content)))
    return _now(bank)


def _script(bank: Bank, request: Request, content: bytes) -> dict[str, Any]:
    if request.method == "POST":
        bank.load_script(content.decode("utf-8", "replace"))
    return {"rules": len(bank.script.rules), "entries": len(bank.script.entries)}


def _faults(bank: Bank, request: Request, content: bytes) -> dict[str, Any]:
    limit = request.query_params.get("limit", "100")
    if not re.fullmatch(r"[0-9]{1,6}", limit):
        raise ControlRefused("limit must be a whole number")
    return dict(bank.fired(limit=int(limit)))


def _notices(bank: Bank, request: Request, content: bytes) -> dict[str, Any]:
    if request.method == "POST":
        url = _object(content).get("url")
        if not isinstance(url, str) or not re.fullmatch(r"(https?://\S+)?", url):
            raise ControlRefused('url must be an http or https address, or "" for no notices')
        bank.notify(url)
    return dict(bank.notice_counts())


def _accounts(bank: Bank, request: Request, content: bytes) -> dict[str, Any]:
    account = read_account(_object(content))
    with bank.book.write() as connection:
        if connection.execute("SELECT 1 FROM accounts WHERE account = ?", (account.account,)).fetchone():
            raise ControlRefused("account exists already")
        create_account(connection, account.account, account.currency, account.name, account.opening)
    return {"account": account.account, "currency": account.currency}


def _entries(bank: Bank, request: Request, content: bytes) -> dict[str, Any]:
    asked = _object(content)
    amount = parse_amount(asked.get("amount"))
    kind = asked.get("kind")
    if amount is None or kind not in ("fee", "credit"):
        raise ControlRefused('kind must be fee or credit, amount a text with two decimals like "12.50"')
    with bank.at_one_instant() as (connection, now_ms):
        known = connection.execute(
            "SELECT 1 FROM accounts WHERE account = ? AND owner = 'company'", (asked.get("account"),)
        )
        if known.fetchone() is None:
            raise ControlRefused("account is not known")
        posting = Posting(
            account=asked["account"],
            amount=-amount if kind == "fee" else amount,
            kind="FEE" if kind == "fee" else "CRE",
            text=str(asked.get("text", "手续费 fee" if kind == "fee" else "来账 incoming credit")),
            counterparty_name=str(asked.get("counterparty_name", "")),
            counterparty_account=str(asked.get("counterparty_account", "")),
        )
        serial = post(connection, [posting], china_date(now_ms).isoformat(), now_ms)[0]
    return {"serial": format_serial(serial), "booking_date": china_date(now_ms).isoformat()}


def _permissions(bank: Bank, request: Request, content: bytes) -> dict[str, Any]:
    asked = _object(content)
    if not asked or not set(asked) <= {"pay", "query"} or any(not isinstance(value, bool) for value in asked.values()):
        raise ControlRefused("pay and query, each true or false, are allowed")
    for name, granted in asked.items():
        bank.grant(name, granted=granted)
    return {name: bank.permission(name) for name in ("pay", "query")}


def _now(bank: Bank) -> dict[str, Any]:
    now_ms = bank.clock.now_ms()
    return {
        "now": china_time(now_ms).isoformat(timespec="milliseconds"),
        "business_date": china_date(now_ms).isoformat(),
        "offset_seconds": (now_ms - bank.clock.wall_ms()) // 1000,
        "frozen": bank.clock.rate == 0,
        "rate": bank.clock.rate,
    }


def _object(content: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(content)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise ControlRefused("a JSON object is needed")
    return asked
