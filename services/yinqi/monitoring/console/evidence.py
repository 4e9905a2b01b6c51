"""A payment's evidence bundle as a download, for auditors: the services decide whether the console may have it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import grpc
from fastapi import FastAPI
from starlette.responses import PlainTextResponse, Response

from yinqi.client.evidence import collect_evidence

AUDITOR = "auditor"
_TIMEOUT_S = 60.0
_WORDS = {
    grpc.StatusCode.NOT_FOUND: (404, "There is no such payment. 没有该笔付款。"),
    grpc.StatusCode.PERMISSION_DENIED: (
        403,
        "This console does not hold the role auditor, so it is given no bundles: names and accounts are in them in full. Somebody "
        "who holds it runs the command. 本控制台没有审计角色，不能下载证据包，请由审计人员使用命令：",
    ),
}
_AWAY = (503, "A service does not answer, and a bundle is whole or is none. Try again. 有服务未应答，请稍后重试。")


def add_download(app: FastAPI, channels: Mapping[str, grpc.aio.Channel]) -> None:
    """Serve the bundles.

    Args:
        channels: to each service, by name, opened with the role auditor; whether it counts is for the services to say.
    """

    @app.get("/payments/{instruction_id}/evidence")
    async def evidence(instruction_id: str) -> Response:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                content = await collect_evidence(instruction_id, channels.__getitem__)
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            code = error.code() if isinstance(error, grpc.aio.AioRpcError) else grpc.StatusCode.DEADLINE_EXCEEDED
            status, words = _WORDS.get(code, _AWAY)
            return PlainTextResponse(f"{words} yinqi evidence {_safe(instruction_id)}\n", status)
        name = f"evidence-{_safe(instruction_id)}.jsonl"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type="application/x-ndjson; charset=utf-8", headers=headers)


def _safe(text: str) -> str:
    """Return a text with nothing in it that a header or a shell reads otherwise."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:64]
