"""HTML that is escaped unless it says it is safe."""

from __future__ import annotations

import html


class Safe(str):
    """HTML that was built by this module; everything else is text and gets escaped."""

    __slots__ = ()


def escape(text: object) -> Safe:
    """Return text as HTML; `Safe` stays as it is, None is empty."""
    if isinstance(text, Safe):
        return text
    return Safe("" if text is None else html.escape(str(text)))


def tag(name: str, /, *children: object, **attributes: object) -> Safe:
    """Return an element.

    Args:
        children: text (escaped) or `Safe`; None and "" add nothing.
        attributes: `cls` is class; underscores become hyphens; None and False are left out, True has no value.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    return Safe(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: object) -> Safe:
    """Return the parts one after the other."""
    return Safe("".join(map(escape, parts)))  # type: ignore[call-overload]


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = "class" if key == "cls" else key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def div(*children: object, **attributes: object) -> Safe:
    """Return a div."""
    return tag("div", *children, **attributes)


def span(*children: object, **attributes: object) -> Safe:
    """Return a span."""
    return tag("span", *children, **attributes)


def local_path(path: str) -> str:
    """Return the path if it stays on this site, else "/" (a link must not lead people away)."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local else "/"
