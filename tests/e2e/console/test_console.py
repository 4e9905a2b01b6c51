"""The console in a real browser: what a clerk, a checker and an SRE do with it."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect
from tests.e2e.console.conftest import Look, ServedConsole
from tests.e2e.console.fake_sisters import MAIN_ACCOUNT, TRACE_ID

from yinqi.api.gateway.v1 import stop_pb2
from yinqi.api.payment.v1 import payment_pb2

pytestmark = pytest.mark.browser
expect.set_options(timeout=40_000)  # A busy machine is not a broken page.
PATHS = ("/", "/payments", "/approvals", "/doubts", "/accounts", "/reconciliation", "/alerts")


def test_the_overview_shows_counts_money_alerts_and_the_latest_reconciliation(look: Callable[..., Look]) -> None:
    seen = look("/")
    page = seen.page
    expect(page.locator("[data-group=total] .yq-card-number")).to_have_text("402")
    expect(page.locator("[data-group=settled] .yq-card-number")).to_have_text("300")
    expect(page.locator("[data-group=unknown].yq-card-alarm .yq-card-number")).to_have_text("1")
    expect(page.get_by_text("621,000,216.41")).to_be_visible()
    expect(page.get_by_text("128,456,789.00")).to_be_visible()
    expect(page.get_by_text("状态未知超时").first).to_be_visible()
    expect(page.get_by_text("平衡", exact=True)).to_be_visible()
    expect(page.locator(".yq-chart canvas, .yq-chart svg")).to_have_count(2)
    assert MAIN_ACCOUNT not in page.content()
    seen.shot("overview")


def test_a_status_card_leads_to_its_payments(look: Callable[..., Look]) -> None:
    page = look("/").page
    page.click("[data-group=rejected]")
    expect(page.get_by_text(re.compile("共 20 笔"))).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(20)
    expect(page.locator("tbody .yq-badge").first).to_have_text("付款失败")


def test_payments_are_searched_by_creditor_status_and_batch_and_read_page_by_page(look: Callable[..., Look]) -> None:
    seen = look("/payments")
    page = seen.page
    expect(page.locator("tbody tr")).to_have_count(25)
    expect(page.get_by_text("6225****0191")).to_be_visible()
    first = page.locator("tbody tr a").first.text_content()
    page.click("[data-subject=next]")
    expect(page.get_by_text("第 2 页")).to_be_visible()
    assert page.locator("tbody tr a").first.text_content() != first
    page.click("[data-subject=previous]")
    expect(page.get_by_text("第 1 页")).to_be_visible()
    page.fill("[data-field=creditor] input, input[data-field=creditor]", "苏州")
    page.click("[data-field=search]")
    expect(page).to_have_url(re.compile("creditor="))
    expect(page.get_by_text(re.compile("共 40 笔"))).to_be_visible()
    assert all("苏州" in row for row in page.locator("tbody tr").all_inner_texts())
    seen.shot("payments")


def test_an_end_to_end_id_leads_straight_to_the_story(look: Callable[..., Look]) -> None:
    page = look("/payments").page
    page.fill("[data-field=id] input, input[data-field=id]", "INV-202611-00000")
    page.click("[data-field=search]")
    expect(page).to_have_url(re.compile("/payments/YQ"))
    expect(page.get_by_text("苏州精密机械有限公司").first).to_be_visible()


def test_an_unknown_id_is_said_in_words(look: Callable[..., Look]) -> None:
    page = look("/payments").page
    page.fill("[data-field=id] input, input[data-field=id]", "NO-SUCH-ID")
    page.click("[data-field=search]")
    expect(page.get_by_text("没有参考号为 NO-SUCH-ID 的付款")).to_be_visible()


def test_a_story_has_every_part_and_shows_text_as_text(look: Callable[..., Look], console: ServedConsole) -> None:
    payment = console.sisters.books.payments[0]
    seen = look(f"/payments/{payment.instruction_id}")
    page = seen.page
    expect(page.locator(".yq-moment")).to_have_count(5)
    expect(page.get_by_text("付款成功").first).to_be_visible()
    expect(page.get_by_text(payment.instruction.creditor_account.identification)).to_be_visible()
    expect(page.get_by_text("BB1PAYBH").first).to_be_visible()
    expect(page.get_by_text("验签通过")).to_be_visible()
    expect(page.get_by_text(f"bank:{MAIN_ACCOUNT}:held").first).to_be_visible()
    expect(page.get_by_text("按参考号和金额勾对")).to_be_visible()
    expect(page.get_by_text(payment.account_servicer_reference).first).to_be_visible()
    expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()
    link = page.get_by_text("在 Jaeger 中查看")
    assert link.get_attribute("href") == f"http://127.0.0.1:16686/trace/{TRACE_ID}"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click(f"[data-copy='{TRACE_ID}']")
    expect(page.locator(f"[data-copy='{TRACE_ID}']")).to_have_text("已复制")
    assert page.evaluate("navigator.clipboard.readText()") == TRACE_ID
    seen.shot("story")


def test_a_storys_evidence_is_downloaded_whole_or_refused_in_words(
    look: Callable[..., Look], console: ServedConsole
) -> None:
    payment, books = console.sisters.books.payments[0], console.sisters.books
    seen = look(f"/payments/{payment.instruction_id}", height=1400)
    page = seen.page
    expect(page.get_by_text(f"yinqi evidence {payment.instruction.end_to_end_id}").first).to_be_visible()
    with page.expect_download() as download:
        page.click("[data-evidence]")
    assert download.value.suggested_filename == f"evidence-{payment.instruction_id}.jsonl"
    content = download.value.path().read_text("utf-8")
    for service in ("payment", "monitoring", "gateway", "account", "reconciliation"):
        assert f'"service":"{service}"' in content
    address = f"{console.url}/payments/{payment.instruction_id}/evidence"
    given = httpx.get(address, trust_env=False)
    assert given.headers["cache-control"] == "no-store"
    assert given.headers["content-disposition"].startswith("attachment")
    books.has_no_auditor = True
    refused = httpx.get(address, trust_env=False)
    books.has_no_auditor = False
    assert refused.status_code == 403
    assert f"yinqi evidence {payment.instruction_id}" in refused.text
    assert httpx.get(f"{console.url}/payments/NO-SUCH/evidence", trust_env=False).status_code == 404
    seen.shot("evidence")


def test_no_page_is_kept_by_a_browser_or_framed(console: ServedConsole) -> None:
    headers = httpx.get(f"{console.url}/payments", trust_env=False).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert httpx.request("TRACE", console.url, trust_env=False).status_code in (404, 405)


def test_the_balance_adjustment_table_adds_up_in_two_columns(look: Callable[..., Look]) -> None:
    seen = look("/reconciliation")
    page = seen.page
    page.click("tbody tr >> nth=1")
    expect(page).to_have_url(re.compile(r"/reconciliation/[0-9a-f]{16}/2026-11-21"))
    expect(page.get_by_text("企业账面余额", exact=True)).to_be_visible()
    adjusted = page.locator(".yq-adjusted td").all_inner_texts()
    assert adjusted == ["128,448,801.00", "128,448,801.00"]
    assert MAIN_ACCOUNT not in page.content()
    seen.shot("reconciliation-day")


def test_a_break_is_resolved_with_words_in_a_persons_name(look: Callable[..., Look], console: ServedConsole) -> None:
    page = look("/reconciliation").page
    page.click("[data-action=resolve][data-subject=BR0001]")
    page.click("[data-field=confirm]")
    expect(page.get_by_text("请填写 1 至 500 字的说明。")).to_be_visible()
    page.fill("[data-field=person] input, input[data-field=person]", "wang.fang")
    page.fill("[data-field=text] textarea, textarea[data-field=text]", "银行手续费，已补记账")
    page.click("[data-field=confirm]")
    expect(page.get_by_text("差异已处理。")).to_be_visible()
    expect(page.locator("[data-subject=BR0001]")).to_have_count(0)
    assert console.sisters.books.resolved_by == [("wang.fang", "reconciler")]
    assert console.sisters.books.breaks[0].resolution == "银行手续费，已补记账"


def test_an_alert_is_acknowledged_with_a_note_and_moves_to_its_list(look: Callable[..., Look]) -> None:
    seen = look("/alerts")
    page = seen.page
    row = page.locator("tr", has_text="状态未知超时")
    row.locator("[data-action=acknowledge]").click()
    page.fill("[data-field=person] input, input[data-field=person]", "li.na")
    page.fill("[data-field=text] textarea, textarea[data-field=text]", "已联系银行")
    seen.shot("acknowledge")
    page.click("[data-field=confirm]")
    expect(page.get_by_text("已确认，由您跟进。")).to_be_visible()
    expect(row).to_have_count(0)
    page.click("text=已确认 >> nth=0")
    page.goto(page.url.split("?")[0] + "?state=ACKNOWLEDGED")
    expect(page.get_by_text("已联系银行")).to_be_visible()
    expect(page.get_by_text("li.na")).to_be_visible()
    seen.shot("alerts")


def test_what_waits_for_people_shows_what_is_missing_and_what_each_decision_needs(look: Callable[..., Look]) -> None:
    seen = look("/doubts")
    page = seen.page
    row = page.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("多次查询仍未知")
    expect(row).to_contain_text("无法证明查询权限有效")
    expect(row).to_contain_text("wang.fang")
    seen.shot("doubts")
    row.click()
    expect(page).to_have_url(re.compile("/doubts/YQ"))
    expect(page.locator("[data-missing=CONTROL_NOT_SEEN]")).to_be_visible()
    expect(page.locator("[data-decision]")).to_have_count(2)
    expect(page.locator("[data-decision=DECLARE_SETTLED]")).to_contain_text("需银行凭证或对账单条目")
    expect(page.locator("[data-decision=DECLARE_FAILED]")).to_contain_text("wang.fang 已提议，凭证 函-2026-17")
    expect(page.locator("[data-refused=ALLOW_RESEND]")).to_contain_text("无法证明查询权限有效")
    expect(page.locator("[data-panel='story.messages']")).to_contain_text("BB1PAYQR")
    seen.shot("doubt")


def test_a_stop_is_a_banner_on_every_page_and_a_line_with_its_reason(
    look: Callable[..., Look], console: ServedConsole
) -> None:
    page = look("/payments").page
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.locator("[data-banner=stops]")).to_have_count(0)
    stop = stop_pb2.Stop(stop_id="ST1", pulled=stop_pb2.StopWord(person="li.si", reason="账户疑似被盗"))
    stop.scope.kind, stop.scope.name = stop_pb2.STOP_SCOPE_KIND_ACCOUNT, MAIN_ACCOUNT
    stop.lift_asked.person = "wang.wu"
    console.sisters.books.stops.append(stop)
    try:
        expect(page.locator("[data-banner=stops]")).to_contain_text("已止付：账户 7559****0101")
        page.click("[data-banner=stops] a")
        expect(page).to_have_url(re.compile("/stops$"))
        row = page.locator("tbody tr")
        expect(row).to_contain_text("账户疑似被盗")
        expect(row).to_contain_text("wang.wu 申请解除，须由第二人确认")
        assert MAIN_ACCOUNT not in page.content()
        stop.lifted.person = "zhao.liu"
        expect(page.locator("[data-banner=stops]")).to_have_count(0)
        expect(row).to_contain_text("wang.wu, zhao.liu")
    finally:
        console.sisters.books.stops.clear()


def test_the_inbox_says_what_waits_for_whom_and_how_to_sign(look: Callable[..., Look], console: ServedConsole) -> None:
    order = console.sisters.books.approvals[0]
    digest = order.approval.order_digest
    seen = look("/approvals")
    page = seen.page
    expect(page.locator("tbody tr")).to_have_count(20)
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("RUN-20261122-00")
    expect(row).to_contain_text("600,000.03")
    expect(row).to_contain_text("li.si")
    expect(row.locator("[data-missing=director]")).to_contain_text("wang.wu / zhao.liu")
    expect(row).to_contain_text("动态口令")
    seen.shot("approvals")
    page.click("[data-subject=next]")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.click("[data-subject=previous]")
    expect(page.locator("tbody tr")).to_have_count(20)
    page.locator("tbody tr").first.click()
    expect(page).to_have_url(re.compile(f"/approvals/{digest}"))
    expect(page.locator("[data-proven='3']")).to_contain_text("明细与签名一致")
    expect(page.locator("[data-given='li.si']")).to_contain_text("同意")
    expect(page.locator("[data-way=give]")).to_contain_text(f"yinqi approve give {digest} --key")
    expect(page.locator("[data-way=refuse]")).to_contain_text("yinqi approve refuse")
    assert MAIN_ACCOUNT not in page.content()
    seen.shot("approval")


def test_an_order_changed_behind_the_service_is_not_shown_as_signed(
    look: Callable[..., Look], console: ServedConsole
) -> None:
    order = console.sisters.books.approvals[5]
    before = order.lines[0]
    order.lines[0] = console.sisters.books.approvals[6].lines[0]
    try:
        page = look(f"/approvals/{order.approval.order_digest}", locale="en-GB").page
        expect(page.get_by_text(re.compile("lines that are not those signed")).first).to_be_visible()
        expect(page.locator("[data-way=give]")).to_have_count(0)
    finally:
        order.lines[0] = before


def test_wages_are_masked_in_the_inbox(look: Callable[..., Look], console: ServedConsole) -> None:
    order = console.sisters.books.approvals[1]
    line = payment_pb2.PaymentInstruction.FromString(order.lines[0])
    seen = look(f"/approvals/{order.approval.order_digest}", locale="en-GB")
    expect(seen.page.locator("[data-proven='3']")).to_be_visible()
    expect(seen.page.locator("[data-panel='approvals.how']")).to_contain_text("never leaves your machine")
    expect(seen.page.locator("[data-panel='approvals.payments']")).not_to_contain_text(line.creditor.name)
    seen.shot("approval-wages-english")


def test_the_language_is_switched_and_remembered(look: Callable[..., Look]) -> None:
    seen = look("/payments?status=RETURNED")
    page = seen.page
    expect(page.locator("h1")).to_contain_text("付款")
    page.click("[data-switch=language]")
    expect(page).to_have_url(re.compile("status=RETURNED"))
    expect(page.locator("tbody .yq-badge").first).to_have_text("Returned")
    page.click("text=Reconciliation >> nth=0")
    expect(page.get_by_text("Adds up", exact=True)).to_be_visible()
    seen.shot("english")


def test_a_browser_that_asks_for_english_gets_it(look: Callable[..., Look]) -> None:
    expect(look("/", locale="en-GB").page.locator("h1")).to_contain_text("Overview")


@pytest.mark.parametrize("path", PATHS)
def test_no_page_is_wider_than_a_laptop_or_a_phone(look: Callable[..., Look], path: str) -> None:
    for width, height in ((1280, 900), (390, 844)):
        seen = look(path, width=width, height=height)
        expect(seen.page.locator(".yq-cell, .yq-card").first).to_be_visible()
        assert seen.overflow() <= 0
        seen.shot(f"{path.strip('/') or 'overview'}-{width}")


def test_the_dark_theme_is_dark(look: Callable[..., Look]) -> None:
    seen = look("/", theme="dark")
    expect(seen.page.locator("[data-group=total]")).to_be_visible()
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background)[:3])) < 60
    seen.shot("overview-dark")


def test_numbers_change_without_reloading(look: Callable[..., Look], console: ServedConsole) -> None:
    page = look("/").page
    count = page.locator("[data-group=in_progress] .yq-card-number")
    expect(count).to_have_text("60")
    payment = next(p for p in console.sisters.books.payments if p.status == 4 + 3)
    before = payment.status
    payment.status = 9
    try:
        expect(count).to_have_text("59")
    finally:
        payment.status = before


def test_a_sister_that_is_away_is_named_and_the_rest_stays_alive(
    look: Callable[..., Look], console: ServedConsole
) -> None:
    seen = look("/")
    page = seen.page
    expect(page.get_by_text("128,456,789.00")).to_be_visible()
    console.sisters.stop("account")
    try:
        expect(page.get_by_text(re.compile("账户 account 服务无响应")).first).to_be_visible()
        expect(page.locator("[data-group=total] .yq-card-number")).to_have_text("402")
        seen.shot("account-away")
    finally:
        console.sisters.start("account")
    expect(page.get_by_text("128,456,789.00")).to_be_visible(timeout=60_000)


def test_a_reconciled_day_is_shown_without_the_account_service(
    look: Callable[..., Look], console: ServedConsole
) -> None:
    page = look("/reconciliation").page
    address = page.locator("tbody tr >> nth=1").get_attribute("data-href")
    console.sisters.stop("account")
    try:
        page = look(str(address)).page
        expect(page.locator(".yq-adjusted td").first).to_have_text("128,448,801.00")
    finally:
        console.sisters.start("account")


def test_an_account_shows_its_statement_page_by_page(look: Callable[..., Look]) -> None:
    page = look("/accounts").page
    page.click("text=结算基本户")
    expect(page.locator("tbody tr")).to_have_count(51)
    page.click("[data-subject=next]")
    expect(page.get_by_text("第 2 页")).to_be_visible()
    assert MAIN_ACCOUNT not in page.content()


def test_many_open_pages_ask_the_sisters_no_more_often_than_one(
    look: Callable[..., Look], console: ServedConsole
) -> None:
    pages = [look("/").page for _ in range(4)]
    for page in pages:
        expect(page.locator("[data-group=total]")).to_be_visible()
    calls = console.sisters.books.calls
    before = calls["CountPayments"]
    pages[0].wait_for_timeout(4_000)
    assert calls["CountPayments"] - before <= 6, "at most about one a second, however many pages look"
