"""The pages: which parts stand where, and what a click does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from nicegui import ui
from starlette.requests import Request

from yinqi.api.account.v1 import account_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import NotFound
from yinqi.monitoring.console import (
    view_accounts,
    view_alerts,
    view_approvals,
    view_doubts,
    view_overview,
    view_payments,
    view_reconciliation,
    view_stops,
    view_story,
)
from yinqi.monitoring.console.frame import Live, Reader, act, ask_person, frame, on_action
from yinqi.monitoring.console.markup import Safe, div, join, span, tag
from yinqi.monitoring.console.parts import heading, link, payment_path
from yinqi.monitoring.console.sisters import SisterAway, Sisters
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.masking import mask_account
from yinqi.monitoring.model import NOTE_LENGTH_MAX, ActivityBucket

_RESOLUTION_LENGTH_MAX = 500
_OVERVIEW_LINES_MAX = 5
_PAGE_SIZE = 50
_APPROVALS_PAGE_SIZE = 20  # each is judged anew, line by line
_ALERTS_LOOKED_AT_MAX = 200
_RUNS_LOOKED_AT_MAX = 200


@dataclass(frozen=True)
class Console:
    """What the pages need.

    Attributes:
        activity: returns throughput buckets from an instant on (seconds since 1970).
        jaeger_url: where traces are shown; "" for nowhere.
        assets_version: changes when the style sheet or the script does.
    """

    sisters: Sisters
    activity: Callable[[int], Awaitable[Sequence[ActivityBucket]]]
    clock: Clock
    jaeger_url: str
    assets_version: str


def add_pages(console: Console) -> None:
    """Register the pages with NiceGUI (once per process)."""

    @ui.page("/", response_timeout=15)
    async def overview(request: Request) -> None:
        await _overview(console, request, Reader.of(request))

    @ui.page("/payments", response_timeout=15)
    async def payments(request: Request) -> None:
        await _payments(console, request, Reader.of(request))

    @ui.page("/payments/{instruction_id}", response_timeout=15)
    async def story(request: Request, instruction_id: str) -> None:
        await _story(console, request, Reader.of(request), instruction_id)

    @ui.page("/approvals", response_timeout=15)
    async def approvals(request: Request) -> None:
        await _approvals(console, request, Reader.of(request))

    @ui.page("/approvals/{order}", response_timeout=15)
    async def approval(request: Request, order: str) -> None:
        await _approval(console, request, Reader.of(request), order)

    @ui.page("/doubts", response_timeout=15)
    async def doubts(request: Request) -> None:
        await _doubts(console, request, Reader.of(request))

    @ui.page("/doubts/{instruction_id}", response_timeout=15)
    async def doubt(request: Request, instruction_id: str) -> None:
        await _doubt(console, request, Reader.of(request), instruction_id)

    @ui.page("/stops", response_timeout=15)
    async def stops(request: Request) -> None:
        await _stops(console, request, Reader.of(request))

    @ui.page("/accounts", response_timeout=15)
    async def accounts(request: Request) -> None:
        await _accounts(console, request, Reader.of(request))

    @ui.page("/accounts/{key}", response_timeout=15)
    async def account(request: Request, key: str) -> None:
        await _account(console, request, Reader.of(request), key)

    @ui.page("/reconciliation", response_timeout=15)
    async def reconciliations(request: Request) -> None:
        await _reconciliations(console, request, Reader.of(request))

    @ui.page("/reconciliation/{key}/{date}", response_timeout=15)
    async def reconciliation_day(request: Request, key: str, date: str) -> None:
        await _reconciliation_day(console, request, Reader.of(request), key, date)

    @ui.page("/alerts", response_timeout=15)
    async def alerts(request: Request) -> None:
        await _alerts(console, request, Reader.of(request))


@contextmanager
def _page(console: Console, request: Request, reader: Reader, name: str, live: Live) -> Iterator[None]:
    """Build what every page has: the frame, and a banner while something is stopped."""

    async def banner() -> Safe:
        try:
            return view_stops.banner(await console.sisters.list_stops(), reader.words)
        except SisterAway:  # Without the gateway nothing leaves anyway; the parts that need it say that it is away.
            return Safe("")

    with frame(request, reader, name, console.assets_version):
        live.part(banner)
        yield


# --- overview ---------------------------------------------------------------------------------------------------------


async def _overview(console: Console, request: Request, reader: Reader) -> None:
    sisters, words = console.sisters, reader.words
    live = Live(words)

    async def counts() -> Sequence[payment_service_pb2.PaymentCount]:
        return await sisters.count_payments(payment_service_pb2.PaymentFilter())

    async def cards() -> Safe:
        return view_overview.stat_cards(await counts(), words)

    async def currencies() -> Safe:
        return view_overview.currency_table(await counts(), words)

    async def open_alerts() -> Safe:
        found, more = await sisters.list_alerts(monitoring_pb2.ALERT_STATUS_OPEN, _ALERTS_LOOKED_AT_MAX)
        worst = sorted(found, key=lambda alert: -alert.severity)[:_OVERVIEW_LINES_MAX]
        count = f"{len(found)}{'+' if more else ''}"
        return view_overview.alerts_section(worst, count, words)

    async def balances() -> Safe:
        found, known = await asyncio.gather(sisters.get_balances(), sisters.list_accounts())
        body = view_overview.balance_lines(found[:_OVERVIEW_LINES_MAX], known, words)
        return view_overview.section("overview.balances", "/accounts", body, words)

    async def runs() -> Safe:
        found, _ = await sisters.list_reconciliations(_PAGE_SIZE)
        latest = view_reconciliation.most_telling(found)[:_OVERVIEW_LINES_MAX]
        body = view_reconciliation.runs_table(latest, await _account_names(sisters), words)
        return view_overview.section("overview.reconciliation", "/reconciliation", body, words)

    with _page(console, request, reader, "overview", live):
        _title("nav.overview", words)
        live.part(cards)
        with ui.element("div").classes("yq-two"):
            with ui.element("section").classes("yq-panel"):
                ui.html(heading("overview.throughput", words), sanitize=False)
                _chart(live, lambda: _throughput(console, words))
            with ui.element("section").classes("yq-panel"):
                ui.html(heading("overview.by_status", words), sanitize=False)
                _chart(live, lambda: _status_bars(counts, words))
        with ui.element("div").classes("yq-two"):
            with ui.element("div").classes("yq-stack"):
                with ui.element("section").classes("yq-panel"):
                    ui.html(heading("overview.by_currency", words), sanitize=False)
                    live.part(currencies)
                with ui.element("section").classes("yq-panel"):
                    live.part(balances)
            with ui.element("section").classes("yq-panel"):
                live.part(open_alerts)
        with ui.element("section").classes("yq-panel"):
            live.part(runs)
        await live.start()


def _title(key: str, words: Words) -> None:
    ui.html(tag("h1", words(key), span(words.beside(key), cls="yq-beside")), sanitize=False)


def _chart(live: Live, options: Callable[[], Awaitable[dict[str, object] | None]]) -> None:
    """Add a chart that keeps its last picture while there is nothing new to draw."""
    chart = ui.echart({}).classes("yq-chart")

    async def refresh() -> None:
        wanted = await options()
        if wanted is not None and wanted != chart.options:
            chart.options.clear()
            chart.options.update(wanted)
            chart.update()

    live.also(refresh)


async def _throughput(console: Console, words: Words) -> dict[str, object]:
    now_s = int(console.clock.now().timestamp())
    buckets = await console.activity(now_s - view_overview.THROUGHPUT_S)
    return view_overview.throughput_options(buckets, now_s, words)


async def _status_bars(
    counts: Callable[[], Awaitable[Sequence[payment_service_pb2.PaymentCount]]], words: Words
) -> dict[str, object] | None:
    try:
        return view_overview.status_options(await counts(), words)
    except SisterAway:  # The cards say so already.
        return None


async def _account_names(sisters: Sisters) -> dict[str, str]:
    """Return the accounts' names; without the account service, none: the numbers still stand there."""
    try:
        return {account.identification: account.name for account in await sisters.list_accounts()}
    except SisterAway:
        return {}


# --- payments ---------------------------------------------------------------------------------------------------------


@dataclass
class _Pager:
    """Where the reader is in a list that is read page by page."""

    tokens: list[str] = field(default_factory=lambda: [""])
    index: int = 0
    next_token: str = ""

    @property
    def token(self) -> str:
        return self.tokens[self.index]

    def move(self, step: int) -> bool:
        """Go to the next (1) or the previous (-1) page; return whether there is one."""
        if step > 0 and self.next_token:
            del self.tokens[self.index + 1 :]
            self.tokens.append(self.next_token)
        elif step > 0 or self.index == 0:
            return False
        self.index += step
        return True

    def buttons(self, words: Words) -> Safe:
        """Return what leads to the other pages; nothing if there is only one."""
        if self.index == 0 and not self.next_token:
            return Safe("")
        return div(
            _pager_button(words("page.previous"), "previous", self.index == 0),
            span(words("page.number", number=self.index + 1), cls="yq-muted"),
            _pager_button(words("page.next"), "next", not self.next_token),
            cls="yq-pager",
        )


def _pager_button(text: str, step: str, disabled: bool) -> Safe:
    return tag("button", text, type="button", cls="yq-button", data_action="page", data_subject=step, disabled=disabled)


async def _payments(console: Console, request: Request, reader: Reader) -> None:
    sisters, words = console.sisters, reader.words
    search = view_payments.Search.from_query(request.query_params)
    pager, live = _Pager(), Live(words)

    async def totals() -> Safe:
        return view_payments.totals_line(await sisters.count_payments(search.filter()), words)

    async def listed() -> Safe:
        found, pager.next_token = await sisters.list_payments(search.filter(), search.page_size, pager.token)
        return join((view_payments.payments_table(found, words), pager.buttons(words)))

    async def turn(action: str, step: str) -> None:
        if action == "page" and pager.move(1 if step == "next" else -1):
            await live.refresh()

    with _page(console, request, reader, "payments", live):
        _title("nav.payments", words)
        _search_form(sisters, search, words)
        live.part(totals)
        with ui.element("section").classes("yq-panel yq-panel-flush"):
            live.part(listed)
        on_action(turn)
        await live.start()


def _search_form(sisters: Sisters, search: view_payments.Search, words: Words) -> None:
    with ui.element("form").classes("yq-form").on("submit.prevent", lambda: find()):
        wanted_id = ui.input(words("payments.id")).props("outlined dense clearable data-field=id").classes("yq-grow")
        creditor = ui.input(words("payments.creditor"), value=search.creditor).props(
            "outlined dense clearable data-field=creditor"
        )
        choice = ui.select(view_payments.choices(words), value=search.choice, label=words("payments.status")).props(
            "outlined dense options-dense data-field=status"
        )
        batch = ui.input(words("payments.batch"), value=search.batch).props("outlined dense clearable data-field=batch")
        ui.button(words("payments.search")).props("unelevated no-caps type=submit data-field=search")
        ui.html(link("/payments", words("payments.clear"), cls="yq-link yq-clear"), sanitize=False)

    async def find() -> None:
        if (wanted_id.value or "").strip():
            await _go_to_payment(sisters, wanted_id.value.strip(), words)
            return
        found = view_payments.Search(choice.value or "", creditor.value or "", batch.value or "", search.page_size)
        ui.navigate.to(found.path())


async def _go_to_payment(sisters: Sisters, wanted: str, words: Words) -> None:
    """Open the story of the payment with this end-to-end or instruction id."""
    for kind in ("end_to_end_id", "instruction_id"):
        try:
            found = await sisters.get_payment(**{kind: wanted})
        except NotFound:
            continue
        except SisterAway as away:
            ui.notify(words("away", service=away.service, code=away.code), type="negative", position="top")
            return
        ui.navigate.to(payment_path(found.payment.instruction_id))
        return
    ui.notify(words("payments.not_found", id=wanted), type="warning", position="top")


# --- one payment's story ----------------------------------------------------------------------------------------------


async def _story(console: Console, request: Request, reader: Reader, instruction_id: str) -> None:
    sisters, words = console.sisters, reader.words
    live = Live(words)

    async def payment() -> payment_pb2.Payment:
        return (await sisters.get_payment(instruction_id=instruction_id)).payment

    async def headline() -> Safe:
        return view_story.headline(await payment(), words)

    async def timeline() -> Safe:
        found = await sisters.get_payment(instruction_id=instruction_id)
        return view_story.timeline(found.journal, words)

    async def instruction() -> Safe:
        return view_story.instruction_facts(await payment(), words)

    async def references() -> Safe:
        return view_story.reference_facts(await payment(), console.jaeger_url, words)

    async def evidence() -> Safe:
        return view_story.evidence_part(await payment(), words)

    async def messages() -> Safe:
        return view_story.messages_table(await sisters.list_messages(instruction_id), words)

    async def postings() -> Safe:
        return view_story.postings_table(await sisters.list_postings(instruction_id), words)

    async def entries() -> Safe:
        found = await sisters.list_entries_of(instruction_id)
        return view_story.entries_table(found, words, empty="story.no_entries")

    async def matches() -> Safe:
        return await _matches_of(sisters, await payment(), words)

    async def alerts() -> Safe:
        found, _ = await sisters.list_alerts(
            monitoring_pb2.ALERT_STATUS_UNSPECIFIED, _PAGE_SIZE, subject=instruction_id
        )
        return view_story.alerts_of_payment(found, words)

    with _page(console, request, reader, "payments", live):
        ui.html(
            join(
                (
                    link("/payments", "← ", words("nav.payments"), cls="yq-link yq-back"),
                    tag("h1", words("story.title"), span(words.beside("story.title"), cls="yq-beside")),
                )
            ),
            sanitize=False,
        )
        with ui.element("section").classes("yq-panel"):
            live.part(headline)
        with ui.element("div").classes("yq-two"):
            with ui.element("div").classes("yq-stack"):
                _panel(live, "story.timeline", timeline, words)
                _panel(live, "story.alerts", alerts, words)
                _panel(live, "story.match", matches, words)
                _panel(live, "story.evidence", evidence, words)
            with ui.element("div").classes("yq-stack"):
                _panel(live, "story.references", references, words)
                _panel(live, "story.instruction", instruction, words)
        for key, render in (
            ("story.messages", messages),
            ("story.postings", postings),
            ("story.entries", entries),
        ):
            _panel(live, key, render, words)
        await live.start()


def _panel(live: Live, key: str, render: Callable[[], Awaitable[Safe]], words: Words) -> None:
    with ui.element("section").classes("yq-panel").props(f"data-panel={key}"):
        ui.html(heading(key, words), sanitize=False)
        live.part(render)


async def _matches_of(sisters: Sisters, payment: payment_pb2.Payment, words: Words) -> Safe:
    """Return how the payment's bookings were matched on the days it was booked."""
    account = payment.instruction.debtor_account.identification
    found = []
    for date in dict.fromkeys((payment.settlement_date, payment.return_date)):
        if not date:
            continue
        try:
            run = await sisters.get_reconciliation(account, date, include_matches=True)
        except NotFound:
            continue
        own = [match for match in run.matches if match.instruction_id == payment.instruction_id]
        if own:
            found.append(view_story.match_line(own, run, words))
    return join(found) if found else div(words("story.no_match"), cls="yq-empty")


# --- what waits for approvers -----------------------------------------------------------------------------------------


async def _approvals(console: Console, request: Request, reader: Reader) -> None:
    sisters, words = console.sisters, reader.words
    pager, live = _Pager(), Live(words)

    async def listed() -> Safe:
        found = await sisters.list_approvals(_APPROVALS_PAGE_SIZE, pager.token)
        if found is None:
            return div(words("approvals.no_policy"), cls="yq-empty")
        approvals, pager.next_token = found
        return join((view_approvals.approvals_table(approvals, words), pager.buttons(words)))

    async def turn(action: str, step: str) -> None:
        if action == "page" and pager.move(1 if step == "next" else -1):
            await live.refresh()

    with _page(console, request, reader, "approvals", live):
        _title("approvals.title", words)
        with ui.element("section").classes("yq-panel yq-panel-flush"):
            live.part(listed)
        on_action(turn)
        await live.start()


async def _approval(console: Console, request: Request, reader: Reader, order: str) -> None:
    sisters, words = console.sisters, reader.words
    live = Live(words)

    async def known() -> Safe:
        return view_approvals.order_facts(await sisters.get_approval(order), words)

    async def decisions() -> Safe:
        return view_approvals.decisions_of(await sisters.get_approval(order), words)

    async def how() -> Safe:
        return view_approvals.commands(await sisters.get_approval(order), words)

    async def lines() -> Safe:
        return view_approvals.lines_table(await sisters.get_approval(order), words)

    with _page(console, request, reader, "approvals", live):
        ui.html(link("/approvals", "← ", words("nav.approvals"), cls="yq-link yq-back"), sanitize=False)
        _title("approvals.one", words)
        with ui.element("div").classes("yq-two"):
            with ui.element("div").classes("yq-stack"):
                with ui.element("section").classes("yq-panel"):
                    live.part(known)
                _panel(live, "approvals.payments", lines, words)
            with ui.element("div").classes("yq-stack"):
                _panel(live, "approvals.decisions", decisions, words)
                _panel(live, "approvals.how", how, words)
        await live.start()


# --- what waits for people --------------------------------------------------------------------------------------------


async def _doubts(console: Console, request: Request, reader: Reader) -> None:
    sisters, words = console.sisters, reader.words
    pager, live = _Pager(), Live(words)

    async def listed() -> Safe:
        found, pager.next_token = await sisters.list_doubts(_PAGE_SIZE, pager.token)
        return join((view_doubts.doubts_table(found, console.clock.now(), words), pager.buttons(words)))

    async def turn(action: str, step: str) -> None:
        if action == "page" and pager.move(1 if step == "next" else -1):
            await live.refresh()

    with _page(console, request, reader, "doubts", live):
        _title("doubts.title", words)
        with ui.element("section").classes("yq-panel yq-panel-flush"):
            live.part(listed)
        on_action(turn)
        await live.start()


async def _doubt(console: Console, request: Request, reader: Reader, instruction_id: str) -> None:
    sisters, words = console.sisters, reader.words
    live = Live(words)

    async def headline() -> Safe:
        return view_story.headline((await sisters.get_doubt(instruction_id)).payment, words)

    async def known() -> Safe:
        return view_doubts.doubt_facts(await sisters.get_doubt(instruction_id), console.clock.now(), words)

    async def evidence() -> Safe:
        return view_doubts.evidence_facts(await sisters.get_doubt(instruction_id), words)

    async def decisions() -> Safe:
        return view_doubts.decisions_list(await sisters.get_doubt(instruction_id), words)

    async def timeline() -> Safe:
        return view_story.timeline((await sisters.get_payment(instruction_id=instruction_id)).journal, words)

    async def messages() -> Safe:
        return view_story.messages_table(await sisters.list_messages(instruction_id), words)

    with _page(console, request, reader, "doubts", live):
        ui.html(link("/doubts", "← ", words("nav.doubts"), cls="yq-link yq-back"), sanitize=False)
        _title("doubts.title", words)
        with ui.element("section").classes("yq-panel"):
            live.part(headline)
        with ui.element("div").classes("yq-two"):
            with ui.element("div").classes("yq-stack"):
                _panel(live, "doubts.why", known, words)
                _panel(live, "doubts.evidence", evidence, words)
            _panel(live, "doubts.decisions", decisions, words)
        _panel(live, "story.timeline", timeline, words)
        _panel(live, "story.messages", messages, words)
        ui.html(link(payment_path(instruction_id), words("alerts.story"), " →"), sanitize=False)
        await live.start()


# --- stops ------------------------------------------------------------------------------------------------------------


async def _stops(console: Console, request: Request, reader: Reader) -> None:
    sisters, words = console.sisters, reader.words
    live = Live(words)

    async def listed() -> Safe:
        return view_stops.stops_table(await sisters.list_stops(include_lifted=True), words)

    with _page(console, request, reader, "stops", live):
        _title("stops.title", words)
        ui.html(div(words("stops.how"), cls="yq-muted yq-small"), sanitize=False)
        with ui.element("section").classes("yq-panel yq-panel-flush"):
            live.part(listed)
        await live.start()


# --- accounts ---------------------------------------------------------------------------------------------------------


async def _accounts(console: Console, request: Request, reader: Reader) -> None:
    sisters, words = console.sisters, reader.words
    live = Live(words)

    async def listed() -> Safe:
        balances, known = await asyncio.gather(sisters.get_balances(), sisters.list_accounts())
        return view_accounts.accounts_table(balances, known, words)

    with _page(console, request, reader, "accounts", live):
        _title("nav.accounts", words)
        with ui.element("section").classes("yq-panel yq-panel-flush"):
            live.part(listed)
        await live.start()


async def _account_of(sisters: Sisters, key: str) -> account_pb2.Account:
    """Return the account an address names. Raises NotFound."""
    for account in await sisters.list_accounts():
        if view_accounts.account_key(account.identification) == key:
            return account
    raise NotFound("ACCOUNT_NOT_FOUND", "There is no such account.", "没有该账户。")


async def _account(console: Console, request: Request, reader: Reader, key: str) -> None:
    sisters, words = console.sisters, reader.words
    from_date, to_date = request.query_params.get("from", ""), request.query_params.get("to", "")
    pager, live = _Pager(), Live(words)

    async def head() -> Safe:
        account = await _account_of(sisters, key)
        balances = [b for b in await sisters.get_balances() if b.account == account.identification]
        return view_accounts.accounts_table(balances, [account], words)

    async def entries() -> Safe:
        account = await _account_of(sisters, key)
        found, pager.next_token = await sisters.list_entries(
            account.identification, from_date, to_date, _PAGE_SIZE, pager.token
        )
        return join((view_story.entries_table(found, words), pager.buttons(words)))

    async def turn(action: str, step: str) -> None:
        if action == "page" and pager.move(1 if step == "next" else -1):
            await live.refresh()

    with _page(console, request, reader, "accounts", live):
        ui.html(link("/accounts", "← ", words("nav.accounts"), cls="yq-link yq-back"), sanitize=False)
        with ui.element("section").classes("yq-panel yq-panel-flush"):
            live.part(head)
        ui.html(_dates_form(from_date, to_date, words), sanitize=False)
        with ui.element("section").classes("yq-panel"):
            ui.html(heading("accounts.entries", words), sanitize=False)
            live.part(entries)
        on_action(turn)
        await live.start()


def _dates_form(from_date: str, to_date: str, words: Words) -> Safe:
    return tag(
        "form",
        tag("label", words("accounts.from"), tag("input", type="date", name="from", value=from_date)),
        tag("label", words("accounts.to"), tag("input", type="date", name="to", value=to_date)),
        tag("button", words("payments.search"), type="submit", cls="yq-button yq-button-primary"),
        method="get",
        cls="yq-form yq-form-dates",
    )


# --- reconciliation ---------------------------------------------------------------------------------------------------


async def _reconciliations(console: Console, request: Request, reader: Reader) -> None:
    sisters, words = console.sisters, reader.words
    pager, live = _Pager(), Live(words)

    async def runs() -> Safe:
        found, pager.next_token = await sisters.list_reconciliations(_PAGE_SIZE, pager.token)
        return join((view_reconciliation.runs_table(found, await _account_names(sisters), words), pager.buttons(words)))

    async def breaks() -> Safe:
        found = await sisters.list_breaks(reconciliation_pb2.BREAK_STATUS_OPEN, _PAGE_SIZE)
        return view_reconciliation.breaks_table(found, words)

    async def handle(action: str, subject: str) -> None:
        if action == "page" and pager.move(1 if subject == "next" else -1):
            await live.refresh()
        if action == "resolve":
            await _resolve(console, reader, subject)
            await live.refresh()

    with _page(console, request, reader, "reconciliation", live):
        _title("nav.reconciliation", words)
        with ui.element("section").classes("yq-panel yq-panel-flush"):
            live.part(runs)
        _panel(live, "reconciliation.open_breaks", breaks, words)
        on_action(handle)
        await live.start()


async def _reconciled_account(sisters: Sisters, key: str) -> str:
    """Return the account an address names; the days that were reconciled know it without the account service."""
    with contextlib.suppress(SisterAway, NotFound):
        return (await _account_of(sisters, key)).identification
    for run in (await sisters.list_reconciliations(_RUNS_LOOKED_AT_MAX))[0]:
        if view_accounts.account_key(run.account) == key:
            return run.account
    raise NotFound("ACCOUNT_NOT_FOUND", "There is no such account.", "没有该账户。")


async def _resolve(console: Console, reader: Reader, break_id: str) -> None:
    words = reader.words

    def check(text: str) -> str:
        return "" if 1 <= len(text.strip()) <= _RESOLUTION_LENGTH_MAX else words("break.resolution.wrong")

    answer = await ask_person(reader, words("break.resolve"), words("break.resolution"), check)
    if answer is not None:
        person, text = answer
        await act(lambda: console.sisters.resolve_break(break_id, text.strip(), person), words("break.resolved"), words)


async def _reconciliation_day(console: Console, request: Request, reader: Reader, key: str, date: str) -> None:
    sisters, words = console.sisters, reader.words
    live = Live(words)

    async def run() -> reconciliation_pb2.Reconciliation:
        return await sisters.get_reconciliation(await _reconciled_account(sisters, key), date)

    async def summary() -> Safe:
        found = await run()
        name = (await _account_names(sisters)).get(found.account, "")
        return div(
            tag(
                "h1",
                found.date,
                span(name, cls="yq-beside"),
                span(mask_account(found.account), cls="yq-beside yq-code"),
            ),
            div(
                view_reconciliation.result_badge(found, words),
                view_reconciliation.statement_badge(found, words),
                span(
                    f"{words('reconciliation.matches')} {found.match_count:,} / {found.entry_count:,}", cls="yq-strong"
                ),
                span(
                    words(
                        "reconciliation.matched_by",
                        reference=f"{found.reference_match_count:,}",
                        amount=f"{found.amount_match_count:,}",
                    ),
                    cls="yq-muted",
                ),
                cls="yq-summary",
            ),
        )

    async def adjustment() -> Safe:
        return view_reconciliation.adjustment_table(await run(), words)

    async def breaks() -> Safe:
        return view_reconciliation.breaks_table((await run()).breaks, words)

    async def pairs() -> Safe:
        account = await _reconciled_account(sisters, key)
        found = await sisters.get_reconciliation(account, date, include_matches=True)
        return view_reconciliation.pairs_table(found.matches, words)

    async def handle(action: str, subject: str) -> None:
        if action == "resolve":
            await _resolve(console, reader, subject)
            await live.refresh()

    with _page(console, request, reader, "reconciliation", live):
        ui.html(link("/reconciliation", "← ", words("nav.reconciliation"), cls="yq-link yq-back"), sanitize=False)
        live.part(summary)
        _panel(live, "reconciliation.table", adjustment, words)
        _panel(live, "reconciliation.breaks", breaks, words)
        _panel(live, "reconciliation.pairs", pairs, words)
        on_action(handle)
        await live.start()


# --- alerts -----------------------------------------------------------------------------------------------------------


async def _alerts(console: Console, request: Request, reader: Reader) -> None:
    sisters, words = console.sisters, reader.words
    state = request.query_params.get("state", "OPEN")
    state = state if state in view_alerts.STATES else "OPEN"
    pager, live = _Pager(), Live(words)

    async def listed() -> Safe:
        found, pager.next_token = await sisters.list_alerts(view_alerts.state_number(state), _PAGE_SIZE, pager.token)
        return join((view_alerts.alerts_table(found, words), pager.buttons(words)))

    async def handle(action: str, subject: str) -> None:
        if action == "page" and pager.move(1 if subject == "next" else -1):
            await live.refresh()
        if action == "acknowledge":
            await _acknowledge(console, reader, subject)
            await live.refresh()

    with _page(console, request, reader, "alerts", live):
        _title("nav.alerts", words)
        ui.html(view_alerts.tabs(state, words), sanitize=False)
        with ui.element("section").classes("yq-panel yq-panel-flush"):
            live.part(listed)
        on_action(handle)
        await live.start()


async def _acknowledge(console: Console, reader: Reader, alert_id: str) -> None:
    words = reader.words

    def check(text: str) -> str:
        return "" if len(text) <= NOTE_LENGTH_MAX else words("alerts.note.wrong")

    answer = await ask_person(reader, words("alerts.acknowledge"), words("alerts.note"), check)
    if answer is not None:
        person, note = answer
        await act(
            lambda: console.sisters.acknowledge_alert(alert_id, note, person), words("alerts.acknowledged"), words
        )
