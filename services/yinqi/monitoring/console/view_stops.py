"""What people have stopped: a banner on every page while a stop is in force, and the list of all stops."""

from __future__ import annotations

from collections.abc import Sequence

from yinqi.api.gateway.v1 import stop_pb2
from yinqi.monitoring.console.markup import Safe, div, join, span
from yinqi.monitoring.console.parts import Column, Row, badge, instant, link, table
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.masking import mask_account

_COLUMNS = (
    Column("stops.scope"),
    Column("stops.pulled"),
    Column("stops.why", "wide"),
    Column("stops.state", "wide"),
    Column("stops.id"),
)
_BANNER_MAX = 3


def banner(stops: Sequence[stop_pb2.Stop], words: Words) -> Safe:
    """Return what every page says while something is stopped; nothing else."""
    active = [stop for stop in stops if not stop.HasField("lifted")]
    if not active:
        return Safe("")
    named = "; ".join(scope_words(stop, words) for stop in active[:_BANNER_MAX])
    more = "" if len(active) <= _BANNER_MAX else " …"
    return div(
        span(words("stops.banner", scopes=f"{named}{more}"), cls="yq-strong"),
        link("/stops", words("stops.see"), " →"),
        cls="yq-notice yq-notice-error",
        role="alert",
        data_banner="stops",
    )


def stops_table(stops: Sequence[stop_pb2.Stop], words: Words) -> Safe:
    """Return the stops: those in force first."""
    return table(_COLUMNS, [_row(stop, words) for stop in stops], words, empty="stops.none")


def scope_words(stop: stop_pb2.Stop, words: Words) -> str:
    """Return what a stop is about, the account's number masked."""
    kind = stop_pb2.StopScopeKind.Name(stop.scope.kind).removeprefix("STOP_SCOPE_KIND_")
    name = mask_account(stop.scope.name) if kind == "ACCOUNT" else stop.scope.name
    return words(f"stops.{kind}", name=name)


def _row(stop: stop_pb2.Stop, words: Words) -> Row:
    return Row(
        (
            span(scope_words(stop, words), cls="yq-strong"),
            _said(stop.pulled),
            stop.pulled.reason,
            _state(stop, words),
            span(stop.stop_id, cls="yq-code yq-muted yq-small"),
        )
    )


def _state(stop: stop_pb2.Stop, words: Words) -> Safe:
    if stop.HasField("lifted"):
        people = f"{stop.lift_asked.person}, {stop.lifted.person}"
        return join((badge(words("stops.lifted"), "settled"), div(people), _when(stop.lifted)))
    if stop.HasField("lift_asked"):
        asked = words("stops.asked", person=stop.lift_asked.person)
        return join((badge(words("stops.active"), "rejected"), div(asked), _command(stop)))
    return join((badge(words("stops.active"), "rejected"), _command(stop)))


def _command(stop: stop_pb2.Stop) -> Safe:
    parts = ("yinqi stop lift", stop.stop_id, "--reason …", "--person …")
    return div(*(join((span(part, cls="yq-nowrap"), " ")) for part in parts), cls="yq-code yq-muted yq-small")


def _said(word: stop_pb2.StopWord) -> Safe:
    return join((div(word.person), _when(word)))


def _when(word: stop_pb2.StopWord) -> Safe:
    return div(instant(word.said_at), cls="yq-muted yq-small yq-nowrap")
