"""Every fault the bank knows: where it strikes, its fields, and an example that is tested to parse and to fire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Scope = Literal["line", "message", "query", "notice"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a fault: its default (which also gives the type), the words or the range allowed."""

    default: Any
    what: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 10**9


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misbehaviour; times: how often a rule with it strikes unless the rule says otherwise, None always."""

    name: str
    scope: Scope
    what: str
    example: str
    times: int | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)


def _code(code: str) -> Field:
    return Field(code, "the bank's error code")


def _text(text: str) -> Field:
    return Field(text, "the bank's words")


_LINES = (
    Fault("refuse", "line", "refused, in the answer or at execution 拒绝",
          """when = { creditor_name = "*已注销*" }\nrefuse = { code = "ACT0009", text = "收款账户已销户" }""",
          fields={"at": Field("execution", "when", ("receipt", "execution")), "code": _code("ACT0009"),
                  "text": _text("收款账户已销户 creditor account closed"),
                  "flag": Field("F", "rtnFlg", ("F", "R", "D", "C", "U"))}),
    Fault("suspicious", "line", "WRF: nobody can say, resolved later 可疑",
          """when = { line = 17 }\nsuspicious = { after_seconds = 60, then = "S", debited = "before" }""",
          fields={"after_seconds": Field(3.0, "until resolved, business time"),
                  "then": Field("S", "how it ends", ("S", "F")),
                  "debited": Field("at_resolution", "when the money moves", ("before", "at_resolution")),
                  "code": _code("UNK0001"), "text": _text("可疑交易核实为失败 found to have failed")}),
    Fault("late_reject", "line", "accepted and in process, rejected long after 受理后迟到的拒绝",
          """when = { chance = 0.1 }\nlate_reject = { after_seconds = 3600, debited = "before" }""",
          fields={"after_seconds": Field(3600.0, "from receipt to the refusal, business time"),
                  "debited": Field("never", "before: debited first, then reversed", ("never", "before")),
                  "code": _code("RJC0001"), "text": _text("人行清算拒绝 refused in clearing"),
                  "flag": Field("F", "rtnFlg", ("F", "R", "D", "C"))}),
    Fault("return", "line", "settled, comes back after n days 退汇",
          """when = { creditor_account = "6225*0042" }\nreturn = { after_days = 2, code = "RTN0001", text = "户名不符" }""",
          fields={"after_days": Field(1, "0 is the same day", most=3_660), "code": _code("RTN0001"),
                  "text": _text("户名不符 name and account differ")}),
    Fault("fee", "line", "a fee nobody announced 手续费",
          """every = 100\nfee = { amount = "5.00", at = "day_end" }""",
          fields={"amount": Field("5.00", "two decimals"), "at": Field("now", "when", ("now", "day_end")),
                  "text": _text("手续费 fee")}),
    Fault("delay", "line", "executed later 延迟执行",
          """when = { amount_min = "50000.00" }\ndelay = { milliseconds = 60000 }""",
          fields={"milliseconds": Field(5000, "on top of the execution delay, business time")}),
    Fault("rewrite_entries", "line", "the day's entries are replaced at day end 日终改写当日明细",
          """when = { account = "755915678910002" }\nrewrite_entries = { how = "sum", intraday = "hidden" }""",
          fields={"how": Field("sum", "one summed entry, the same with new serials, or these without the payer's reference",
                               ("sum", "renumber", "anonymous")),
                  "intraday": Field("shown", "whether they are listed before day end", ("shown", "hidden")),
                  "text": _text("归集汇总 sweeps in one sum")}),
    Fault("accept_duplicate", "line", "the duplicate guard fails: a used reference is taken again 防重失效",
          """when = { reference = "*" }\naccept_duplicate = true"""),
    Fault("double_debit", "line", "the bank itself debits twice 银行重复扣款",
          """when = { amount = "*.99" }\ntimes = 1\ndouble_debit = true"""),
)  # fmt: skip

_PROCESSED = Field(True, "whether the message is processed first")
_MESSAGES = (
    Fault("lose_request", "message", "dropped before processing, connection cut 请求丢失",
          """when = { reference = "REF-1*" }\nlose_request = true""", times=1),
    Fault("lose_answer", "message", "processed and committed, then the connection is cut 应答丢失",
          """when = { function = "BB1PAYBH" }\nnth = 2\nlose_answer = true""", times=1),
    Fault("late_request", "message", "connection cut at once, processed later 请求迟到",
          """when = { function = ["BB1PAYOP", "BB1PAYBH"] }\nlate_request = { milliseconds = 20000 }""", times=1,
          fields={"milliseconds": Field(1000, "real time until it is processed")}),
    Fault("slow", "message", "processed, the answer leaves late 缓慢",
          """when = { time = "09:00-09:30", chance = 0.5 }\ntimes = 50\nslow = { milliseconds = 8000 }""", times=1,
          fields={"milliseconds": Field(2000, "real time")}),
    Fault("half_open", "message", "the connection stays open and nothing ever comes 半开连接",
          """nth = 5\nhalf_open = { milliseconds = 120000, processed = true }""", times=1,
          fields={"milliseconds": Field(60_000, "real time until it is cut after all", most=3_600_000), "processed": _PROCESSED}),
    Fault("cut_answer", "message", "processed, cut in the middle of the answer 应答中途断开",
          """when = { function = "BB1PAYQR" }\nnth = [2, 3]\ncut_answer = { bytes = 64 }""", times=1,
          fields={"bytes": Field(40, "of the answer's body that still arrive")}),
    Fault("wrong_signature", "message", "one bit of the answer's signature is flipped 签名错误",
          """when = { function = "BB1PAYQR" }\nnth = 3\nwrong_signature = true""", times=1),
    Fault("gateway_error", "message", "plain text instead of an answer 网关错误",
          """nth = 7\ngateway_error = { status = 502, text = "Bad Gateway", processed = true }""", times=1,
          fields={"status": Field(200, "HTTP status", least=200, most=599),
                  "text": _text("CDCServer:SYS0001 system busy 系统繁忙"),
                  "processed": Field(False, "whether the message is processed first")}),
    Fault("refuse_concurrent", "message", "refused as one concurrent call too many 并发超限",
          """when = { function = ["BB1PAYOP", "BB1PAYBH"], chance = 0.1 }\ntimes = 100\nrefuse_concurrent = true""", times=1),
    Fault("maintenance", "message", "every call is turned away 系统维护",
          """when = { time = "22:00-02:00" }\nmaintenance = true""",
          fields={"status": Field(200, "HTTP status", least=200, most=599),
                  "text": _text("CDCServer:SYS0002 closed for maintenance 系统维护中")}),
    Fault("clock_skew", "message", "the bank's clock for sigtim is off 时钟偏差",
          """when = { elapsed_min = 60, elapsed_max = 120 }\nclock_skew = { seconds = -7200 }""",
          fields={"seconds": Field(7200, "ahead of real time; may be negative", least=-(10**9))}),
)  # fmt: skip

_QUERIES = (
    Fault("blind_query", "query", "the user may not look, and is told there is nothing 无查询权限",
          """when = { function = "BB1PAYQR", chance = 0.1 }\nblind_query = { answer = "not_found", for_seconds = 30 }""",
          fields={"answer": Field("empty", "how it is said", ("empty", "not_found", "no_permission")),
                  "for_seconds": Field(0, "how long the right is gone, business time; 0 is this message only")}),
    Fault("empty_query", "query", "what there is is not shown, though the user may look 空应答",
          """when = { function = "BB1PAYQR" }\nempty_query = { younger_than_seconds = 300 }""", times=1,
          fields={"younger_than_seconds": Field(0, "hide only what is younger, business time; 0 hides all")}),
    Fault("out_of_window", "query", "the dates asked for are outside the bank's window 超出查询期限",
          """when = { function = "BB1QRYOB" }\nout_of_window = { answer = "empty" }""", times=1,
          fields={"answer": Field("refused", "NTF0006, or an empty answer", ("refused", "empty"))}),
    Fault("misorder_pages", "query", "statement entries in the wrong order 分页乱序",
          """when = { function = "trsQryByBreakPoint" }\nmisorder_pages = { how = "across" }""",
          fields={"how": Field("within", "reversed in each page, or newest page first", ("within", "across"))}),
    Fault("unbalanced", "query", "a balance that does not add up 余额不平",
          """when = { account = "755915678910001" }\ntimes = 1\nunbalanced = { amount = "0.01", where = "closing" }""",
          times=1,
          fields={"amount": Field("0.01", "how much too high, two decimals"),
                  "where": Field("closing", "of the statement, after its last entry, or of a balance query",
                                 ("opening", "closing", "entry", "balance"))}),
)  # fmt: skip

_NOTICES = (
    Fault("lose_notice", "notice", "never sent 通知丢失", """when = { chance = 0.1 }\nlose_notice = true"""),
    Fault("delay_notice", "notice", "sent later 通知迟到",
          """when = { function = "YQN02030" }\ntimes = 1\ndelay_notice = { milliseconds = 5000 }""", times=1,
          fields={"milliseconds": Field(5000, "real time")}),
    Fault("swap_notice", "notice", "sent only after the next one of its type 通知乱序",
          """every = 10\ntimes = 5\nswap_notice = true""", times=1),
    Fault("duplicate_notice", "notice", "sent again though acknowledged 通知重复",
          """when = { chance = 0.1 }\nduplicate_notice = { copies = 2 }""", times=1,
          fields={"copies": Field(1, "how many more", least=1, most=100)}),
    Fault("forge_notice", "notice", "a forged one that says the opposite comes first 伪造通知",
          """when = { reference = "REF-1*" }\nforge_notice = { how = "wrong_key" }""", times=1,
          fields={"how": Field("wrong_key", "another key's signature, or the bank's over other content",
                               ("wrong_key", "altered"))}),
    Fault("replay_notice", "notice", "an old one comes again, byte for byte 重放旧通知",
          """nth = 20\nreplay_notice = { back = 5 }""", times=1,
          fields={"back": Field(1, "how many notices ago", least=1)}),
)  # fmt: skip

FAULTS: Mapping[str, Fault] = {one.name: one for one in (*_LINES, *_MESSAGES, *_QUERIES, *_NOTICES)}
