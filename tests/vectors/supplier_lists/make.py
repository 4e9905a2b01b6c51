"""Make the two supplier lists of the demo: 400 lines each, ten of them broken in ten ways.

Run `python tests/vectors/supplier_lists/make.py`; the output is the same every time. Names, accounts and amounts are made
up from a fixed seed; bank codes and bank names are real and public (cnaps.csv, see tests/vectors/README.md).
"""

from __future__ import annotations

import csv
import io
import random
import re
import zipfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from openpyxl import Workbook
from openpyxl.styles import Font

HERE = Path(__file__).parent
OUTPUT = HERE.parents[2] / "services" / "yinqi" / "demo" / "data"
LINES = 400
DEBTOR = "华东精工制造股份有限公司"
DEBTOR_ACCOUNT = "755915678910001"
EXECUTION_DATE = "2026-11-20"
HEADER = (
    *("业务参考号", "付款人", "付款账号", "收款人", "收款账号", "收款行联行号", "收款行名称"),
    *("币种", "金额", "期望付款日", "付款类别", "用途", "附言", "汇路"),
)
(E2E, PAYER, PAYER_ACCOUNT, CREDITOR, ACCOUNT, CNAPS, BANK) = range(7)
(CURRENCY, AMOUNT, DATE, CATEGORY, PURPOSE, REMITTANCE, CHANNEL) = range(7, 14)

_PLACES = (
    "北京 上海 天津 重庆 深圳 广州 杭州 宁波 温州 南京 苏州 无锡 常州 合肥 武汉 长沙 成都 西安 青岛 济南 厦门 福州 "
    "东莞 佛山 珠海 大连 沈阳 哈尔滨 长春 郑州 石家庄 太原 昆明 贵阳 南宁 海口 兰州 嘉兴 绍兴 台州"
).split()
_BRANDS = (
    "宏远 天成 瑞丰 恒通 华泰 金鼎 永盛 德邦 泰和 安信 嘉禾 明达 广源 正大 鸿图 新锐 凯迪 博雅 东方 中联 远航 万象 "
    "顺达 兴业达 海川 龙腾 百川 国昌 盛世 立信 同创 力诚 汇智 星辰 卓越 鑫源 佳美 润泽 长青 九州"
).split()
_TRADES = (
    "机械 电子 五金 包装材料 化工 物流 钢材 塑胶 精密模具 自动化设备 电线电缆 仪器仪表 轴承 紧固件 液压件 印刷 纺织 "
    "照明 新材料 环保科技 信息技术 建材 玻璃 橡胶制品 工业气体 办公用品 劳保用品 食品 贸易 检测技术"
).split()
_FORMS = ("有限公司", "有限公司", "有限公司", "有限责任公司", "股份有限公司", "实业有限公司", "厂")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_GOODS = ("货款", "材料款", "加工费", "设备款", "运费", "服务费", "模具款", "检测费", "备件款", "工程款")


def banks() -> list[tuple[str, str]]:
    """Return the (code, name) of real banks and branches."""
    with (HERE / "cnaps.csv").open(encoding="utf-8", newline="") as stream:
        return [(row["clearing_member_id"], row["name"]) for row in csv.DictReader(stream)]


def good_lines(prefix: str, seed: int) -> list[list[str]]:
    """Return LINES payable lines."""
    rng = random.Random(seed)
    known = banks()
    names: set[str] = set()
    return [_line(f"{prefix}-{number:04d}", rng, known, names) for number in range(1, LINES + 1)]


def _line(end_to_end_id: str, rng: random.Random, known: list[tuple[str, str]], names: set[str]) -> list[str]:
    code, bank = rng.choice(known)
    name = _company(rng)
    while name in names:
        name = _company(rng)
    names.add(name)
    # Many small payments and few large ones: 100.00 to 90,000.00, about 9,000 on average.
    amount = (Decimal(repr(10 ** (2 + 2.9542 * rng.random() ** 1.25)))).quantize(Decimal("0.01"))
    goods = rng.choice(_GOODS)
    return [
        *(end_to_end_id, DEBTOR, DEBTOR_ACCOUNT, name, _account(code, rng), code, bank, "CNY"),
        *(str(min(max(amount, Decimal("100.00")), Decimal("90000.00"))), EXECUTION_DATE, "SUPP", goods),
        f"{rng.randint(8, 11)}月{goods} 合同HT2026{rng.randint(1, 9999):04d} 发票{rng.randint(10_000_000, 99_999_999)}",
        rng.choice(("", "", "", "小额", "实时")),
    ]


def _company(rng: random.Random) -> str:
    return rng.choice(_PLACES) + rng.choice(_BRANDS) + rng.choice(_TRADES) + rng.choice(_FORMS)


def _account(code: str, rng: random.Random) -> str:
    """Corporate account numbers carry no check digit; lengths differ by bank."""
    length = {"102": 19, "103": 17, "104": 12, "105": 20, "301": 21, "308": 15}.get(code[:3], 16)
    return str(rng.randint(1, 9)) + "".join(str(rng.randint(0, 9)) for _ in range(length - 1))


def break_csv(lines: list[list[str]]) -> None:
    """Break ten lines in ten ways; line n of the list stands on physical line n + 1 of the file."""
    lines[16][AMOUNT] = "0.00"
    lines[41][AMOUNT] = "-1280.00"
    lines[76][AMOUNT] = "530.125"
    lines[118][CURRENCY] = "RMB"
    lines[153][CNAPS] = lines[153][CNAPS][:11]
    lines[188][CNAPS] = _wrong_check_digit(lines[188][CNAPS])
    lines[229][CREDITOR] = ""
    lines[264][REMITTANCE] = "材料款\x07（附件）"
    lines[307][DATE] = "2026-02-30"
    lines[351][E2E] = lines[4][E2E]


def break_excel(lines: list[list[str]]) -> None:
    """Break ten lines in ten other ways; line n of the list stands in row n + 3 of the sheet."""
    lines[11][ACCOUNT] = "NUMBER"  # written as a number cell below
    lines[47][AMOUNT] = "12,680.00"
    lines[88][AMOUNT] = "10000000000000.00"
    lines[123][CREDITOR] = lines[123][CREDITOR].encode("utf-8").decode("gb18030", errors="ignore")
    lines[166] = list(lines[9])
    lines[201][ACCOUNT] = ""
    lines[245][REMITTANCE] = "补付货款，" * 30
    lines[280][DATE] = "20/11/2026"
    lines[322][CNAPS] = _wrong_check_digit(lines[322][CNAPS])
    lines[377][CATEGORY] = "GIFT"


def _wrong_check_digit(code: str) -> str:
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def write_csv(lines: list[list[str]]) -> bytes:
    """UTF-8 with BOM, as Excel likes it, and CRLF."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([HEADER, *lines])
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8")


def write_excel(lines: list[list[str]]) -> bytes:
    """One sheet: a title row, the header, the lines. Amounts are number cells, accounts and codes text cells."""
    workbook = Workbook()
    workbook.properties.created = workbook.properties.modified = datetime(2026, 11, 19, 9, 0)  # noqa: DTZ001 (naive by format)
    workbook.properties.creator = "yinqi"
    sheet = workbook.active
    sheet.title = "供应商付款"
    sheet.append(["2026年11月供应商付款清单（第二批）"])
    sheet.append(HEADER)
    for line in lines:
        sheet.append(_cells(line))
    for cell in sheet[2]:
        cell.font = Font(bold=True)
    for column, width in (("A", 18), ("B", 26), ("C", 18), ("D", 32), ("E", 24), ("F", 16), ("G", 40), ("M", 44)):
        sheet.column_dimensions[column].width = width
    sheet.freeze_panes = "A3"
    buffer = io.BytesIO()
    workbook.save(buffer)
    return _without_times(buffer.getvalue())


def _cells(line: list[str]) -> list[object]:
    cells: list[object] = list(line)
    cells[ACCOUNT] = 6222021234567890123 if line[ACCOUNT] == "NUMBER" else line[ACCOUNT]
    cells[AMOUNT] = float(line[AMOUNT]) if "," not in line[AMOUNT] else line[AMOUNT]
    return cells


def _without_times(data: bytes) -> bytes:
    """Pack again with fixed times, so that the same input gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            content = old.read(part)
            if part.filename == "docProps/core.xml":  # openpyxl stamps the time of saving there
                content = _TIME.sub(b"2026-11-19T09:00:00Z", content)
            new.writestr(zipfile.ZipInfo(part.filename, (2026, 11, 19, 9, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def make() -> dict[str, bytes]:
    """Return the files by name."""
    first, second = good_lines("SUP-202611-A", 20261119), good_lines("SUP-202611-B", 20261120)
    break_csv(first)
    break_excel(second)
    return {"suppliers-2026-11.csv": write_csv(first), "suppliers-2026-11.xlsx": write_excel(second)}


if __name__ == "__main__":
    for name, content in make().items():
        (OUTPUT / name).write_bytes(content)
