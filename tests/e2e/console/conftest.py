"""The monitoring service as a process, the fakes it reads from, and a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from tests.e2e.console.fake_sisters import FakeSisters, fake_sisters

from yinqi.runtime.listening import free_port

ROOT = Path(__file__).resolve().parents[3]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()


@dataclass
class ServedConsole:
    """A running monitoring process and what it shows."""

    url: str
    sisters: FakeSisters
    process: subprocess.Popen[bytes]


def start_monitoring(var_dir: Path, sisters: FakeSisters, console_port: int, **changes: str) -> subprocess.Popen[bytes]:
    """Start `python -m yinqi.monitoring.main` against the fakes."""
    environment = {
        **os.environ,  # noqa: TID251
        "PYTHONPATH": str(ROOT / "services"),
        "YINQI_VAR_DIR": str(var_dir),
        "YINQI_MONITORING_PORT": str(free_port()),
        "YINQI_CONSOLE_PORT": str(console_port),
        "YINQI_UNKNOWN_ALERT_AFTER_S": "1",
        "YINQI_JAEGER_URL": "http://127.0.0.1:16686",
        "YINQI_POLL_INTERVAL_MS": "50",
        "YINQI_DRAIN_GRACE_S": "2",
        **{f"YINQI_{service.upper()}_ADDRESS": f"127.0.0.1:{port}" for service, port in sisters.ports.items()},
        **changes,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "yinqi.monitoring.main"], env=environment, stderr=(var_dir / "monitoring.log").open("ab")
    )


def wait_until_served(url: str, process: subprocess.Popen[bytes], within_s: float = 60.0) -> None:
    end_at = time.monotonic() + within_s
    while time.monotonic() < end_at:
        if process.poll() is not None:
            raise AssertionError(f"the service ended with {process.returncode}")
        try:
            if httpx.get(f"{url}/healthz", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError("the console did not answer in time")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedConsole]:
    with fake_sisters() as sisters:
        port = free_port()
        process = start_monitoring(tmp_path_factory.mktemp("monitoring"), sisters, port)
        try:
            wait_until_served(f"http://127.0.0.1:{port}", process)
            yield ServedConsole(f"http://127.0.0.1:{port}", sisters, process)
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        words = "Chromium is not installed; install it with `apt-get install chromium fonts-wqy-zenhei`"
        if os.environ.get("CI"):  # noqa: TID251
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Look:
    """One reader's browser window, and everything that went wrong in it."""

    page: Page
    complaints: list[str]
    foreign_requests: list[str]
    shots: Path

    def shot(self, name: str) -> None:
        """Save what is seen, for people to look at."""
        self.page.screenshot(path=self.shots / f"{name}.png")

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width


@pytest.fixture
def look(
    browser: Browser, console: ServedConsole, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Look]]:
    """Open a page: `look("/payments", width=390, language="en")`; complaints of the browser fail the test."""
    contexts: list[BrowserContext] = []
    looks: list[Look] = []
    shots = tmp_path_factory.getbasetemp() / "console-screenshots"
    shots.mkdir(exist_ok=True)

    def open_page(
        path: str, *, width: int = 1280, height: int = 900, locale: str = "zh-CN", theme: str = "light"
    ) -> Look:
        context = browser.new_context(viewport={"width": width, "height": height}, locale=locale)
        context.set_default_timeout(20_000)
        context.add_cookies([{"name": "yinqi_theme", "value": theme, "url": console.url}])
        page = context.new_page()
        opened = Look(page, [], [], shots)
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("console", lambda m: opened.complaints.append(m.text) if m.type == "error" else None)
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((console.url, console.url.replace("http", "ws"), "data:", "blob:"))
                else opened.foreign_requests.append(request.url)
            ),
        )
        page.goto(console.url + path)
        contexts.append(context)
        looks.append(opened)
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert [complaint for one in looks for complaint in one.complaints] == []
    assert [url for one in looks for url in one.foreign_requests] == [], "the console must not need the internet"
