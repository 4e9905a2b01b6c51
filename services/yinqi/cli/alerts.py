"""`yinqi alerts`: see alerts and take charge of them."""

from __future__ import annotations

from typing import Annotated

import grpc
import typer

from yinqi.api.monitoring.v1 import monitoring_pb2 as pb
from yinqi.api.monitoring.v1 import monitoring_service_pb2, monitoring_service_pb2_grpc
from yinqi.cli.connection import call, console
from yinqi.demo.words import alert_table

app = typer.Typer(help="Alerts 告警.", no_args_is_help=True)

Stub = monitoring_service_pb2_grpc.MonitoringServiceStub


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also acknowledged and closed 含已确认和已恢复")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most rows 最多行数")] = 50,
) -> None:
    """List alerts, newest first 告警列表."""

    async def ask(channel: grpc.aio.Channel) -> monitoring_service_pb2.ListAlertsResponse:
        status = pb.ALERT_STATUS_UNSPECIFIED if everything else pb.ALERT_STATUS_OPEN
        return await Stub(channel).ListAlerts(monitoring_service_pb2.ListAlertsRequest(status=status, page_size=limit))

    console.print(alert_table(list(call("monitoring", ask).alerts)))


@app.command("ack")
def acknowledge_alert(
    alert_id: Annotated[str, typer.Argument(help="Which alert 告警编号")],
    note: Annotated[str, typer.Option(help="Note for the others 备注")] = "",
) -> None:
    """Take charge of an alert 确认告警."""

    async def ask(channel: grpc.aio.Channel) -> monitoring_service_pb2.AcknowledgeAlertResponse:
        request = monitoring_service_pb2.AcknowledgeAlertRequest(alert_id=alert_id, note=note)
        return await Stub(channel).AcknowledgeAlert(request)

    console.print(alert_table([call("monitoring", ask).alert]))
