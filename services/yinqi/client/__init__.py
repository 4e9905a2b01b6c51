"""Make keys, build and sign orders, hand them in, follow them, approve them: for Python callers (docs/signed-orders.md).

key = PrivateKey.load(Path("erp.key"), "erp-2026")
order = new_order("RUN-17", [instruction, …], company="…", key=key)
async with OrderClient("127.0.0.1:7101", identity="erp") as client:
    response = await client.submit(order)
"""

from __future__ import annotations

from yinqi.client.orders import OrderClient, new_order
from yinqi.client.shown import ShownOrder, shown_order
from yinqi.orders.keys import Algorithm, KeyFileInvalid, PrivateKey
from yinqi.orders.order import NewOrder, OrderInvalid

__all__ = [
    "Algorithm",
    "KeyFileInvalid",
    "NewOrder",
    "OrderClient",
    "OrderInvalid",
    "PrivateKey",
    "ShownOrder",
    "new_order",
    "shown_order",
]
