"""What every page has around it: navigation, language, theme, live parts, dialogs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from nicegui import events, ui
from starlette.requests import Request

from yinqi.kernel.errors import YinqiError
from yinqi.monitoring.console.markup import Safe, div, join, span, tag
from yinqi.monitoring.console.parts import error_text, shown
from yinqi.monitoring.console.sisters import SisterAway
from yinqi.monitoring.console.words import Words, language_from

LANGUAGE_COOKIE = "yinqi_language"
THEME_COOKIE = "yinqi_theme"
PERSON_COOKIE = "yinqi_person"
THEMES = ("auto", "light", "dark")
REFRESH_S = 2.0

_PAGES = ("overview", "payments", "approvals", "doubts", "stops", "accounts", "reconciliation", "alerts")
_PATHS = {"overview": "/"}
_PERSON = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DARK = {"auto": None, "light": False, "dark": True}


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks at a page: language, theme, and the staff id last used in a dialog."""

    words: Words
    theme: str
    person: str

    @classmethod
    def of(cls, request: Request) -> Reader:
        """Read the cookies; what they do not say comes from the browser."""
        language = language_from(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))
        theme = request.cookies.get(THEME_COOKIE, "auto")
        person = request.cookies.get(PERSON_COOKIE, "")
        return cls(Words(language), theme if theme in THEMES else "auto", person if _PERSON.fullmatch(person) else "")


@contextmanager
def frame(request: Request, reader: Reader, page: str, assets_version: str) -> Iterator[None]:
    """Build navigation and page title; the page's own parts go inside."""
    words = reader.words
    ui.page_title(f"{words(f'nav.{page}')} · yinqi 银企")
    ui.dark_mode(value=_DARK[reader.theme])
    ui.colors(primary="#2a6f9e", positive="#23764f", negative="#a63a31", warning="#9a5b00")
    ui.add_head_html(f'<link rel="stylesheet" href="/assets/console.css?v={assets_version}">')
    ui.add_head_html(f'<script defer src="/assets/console.js?v={assets_version}"></script>')
    with ui.element("div").classes("yq-shell"):
        ui.html(_navigation(request, reader, page), sanitize=False, tag="nav").classes("yq-nav")
        with ui.element("main").classes("yq-main"):
            yield


def _navigation(request: Request, reader: Reader, current: str) -> Safe:
    words = reader.words
    here = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""), safe="")
    brand = tag("a", span("银企", cls="yq-brand-zh"), span("yinqi", cls="yq-brand-en"), href="/", cls="yq-brand")
    links = [
        tag(
            "a",
            span(words(f"nav.{page}")),
            span(words.beside(f"nav.{page}"), cls="yq-beside"),
            href=_PATHS.get(page, f"/{page}"),
            cls="yq-nav-link yq-nav-current" if page == current else "yq-nav-link",
            aria_current="page" if page == current else None,
        )
        for page in _PAGES
    ]
    other = "en" if words.language == "zh" else "zh"
    language = tag(
        "a", words("frame.language"), href=f"/set/language/{other}?to={here}", cls="yq-switch", data_switch="language"
    )
    themes = [
        tag(
            "a",
            words(f"theme.{theme}"),
            href=f"/set/theme/{theme}?to={here}",
            cls="yq-switch yq-switch-chosen" if theme == reader.theme else "yq-switch",
            data_switch=f"theme-{theme}",
        )
        for theme in THEMES
    ]
    foot = div(
        div(language, cls="yq-switches"),
        div(*themes, cls="yq-switches", role="group", aria_label=words("frame.theme")),
        div(words("frame.time"), " UTC+8", cls="yq-muted yq-small yq-nav-note"),
        cls="yq-nav-foot",
    )
    return join((brand, div(*links, cls="yq-nav-links"), foot))


class Live:
    """Parts of a page that are rendered again every REFRESH_S; only what changed is sent to the browser."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._parts: list[tuple[Callable[[Safe], None], Callable[[], Awaitable[Safe]]]] = []
        self._others: list[Callable[[], Awaitable[None]]] = []

    def part(self, render: Callable[[], Awaitable[Safe]], *, classes: str = "") -> None:
        """Add a part here."""
        element = ui.html("", sanitize=False).classes(classes)

        def put(content: Safe) -> None:
            if element.content != content:
                element.content = content

        self._parts.append((put, render))

    def also(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Call this too at every refresh (charts)."""
        self._others.append(refresh)

    async def refresh(self) -> None:
        """Render all parts at once; one that waits for a sister does not hold up the others' errors."""
        contents = await asyncio.gather(*(shown(render, self._words) for _, render in self._parts))
        for (put, _), content in zip(self._parts, contents, strict=True):
            put(content)
        for refresh in self._others:
            await refresh()

    async def start(self) -> None:
        """Fill the page before it is sent, then keep it fresh."""
        await self.refresh()
        ui.timer(REFRESH_S, self.refresh, immediate=False)


def on_action(handle: Callable[[str, str], Awaitable[None]]) -> None:
    """Call `handle(action, subject)` when a button of `parts.action_button` is clicked."""

    async def receive(event: events.GenericEventArguments) -> None:
        arguments = event.args if isinstance(event.args, dict) else {}
        await handle(str(arguments.get("action", "")), str(arguments.get("subject", "")))

    ui.on("yinqi_action", receive)


async def ask_person(reader: Reader, title: str, label: str, check: Callable[[str], str]) -> tuple[str, str] | None:
    """Ask who acts and for a text; return (staff id, text), or None if the dialog was cancelled.

    Args:
        check: returns what is wrong with the text, or "".
    """
    words = reader.words
    with ui.dialog() as dialog, ui.card().classes("yq-dialog"):
        ui.label(title).classes("yq-dialog-title")
        person = ui.input(
            words("person"),
            value=reader.person,
            validation=lambda value: None if _PERSON.fullmatch(value or "") else words("person.wrong"),
        ).props("outlined dense data-field=person")
        text = ui.textarea(label, validation=lambda value: check(value or "") or None).props(
            "outlined dense autogrow data-field=text"
        )

        def confirm() -> None:
            if all([person.validate(), text.validate()]):
                dialog.submit((person.value, text.value or ""))

        with ui.row().classes("yq-dialog-buttons"):
            ui.button(words("cancel"), on_click=lambda: dialog.submit(None)).props("flat no-caps")
            ui.button(words("save"), on_click=confirm).props("unelevated no-caps data-field=confirm")
    answer: tuple[str, str] | None = await dialog
    if not dialog.is_deleted:  # The reader may have closed the page meanwhile.
        dialog.delete()
    if answer is not None:
        cookie = f"{PERSON_COOKIE}={answer[0]};path=/;max-age=31536000;samesite=strict"
        ui.run_javascript(f"document.cookie = {json.dumps(cookie)}")
    return answer


async def act(call: Callable[[], Awaitable[None]], done: str, words: Words) -> None:
    """Do something in a person's name and say how it ended."""
    try:
        await call()
    except SisterAway as away:
        ui.notify(words("away", service=away.service, code=away.code), type="negative", position="top")
    except YinqiError as error:
        ui.notify(error_text(error, words), type="negative", position="top")
    else:
        ui.notify(done, type="positive", position="top")
