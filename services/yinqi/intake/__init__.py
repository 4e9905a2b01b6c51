"""Payment files in: CSV and Excel lists, pain.001. `read_payment_file` is the door; everything else is behind it."""

from yinqi.intake.line import (
    AccountText,
    AgentText,
    Fault,
    FileFormat,
    FileRefused,
    PaymentFile,
    PaymentLine,
    RefusedLine,
)
from yinqi.intake.reader import read_payment_file

__all__ = [
    "AccountText",
    "AgentText",
    "Fault",
    "FileFormat",
    "FileRefused",
    "PaymentFile",
    "PaymentLine",
    "RefusedLine",
    "read_payment_file",
]
