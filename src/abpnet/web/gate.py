"""What comes between the explorer and whoever asks: this machine's own pages, uploaded files, nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Gate", "sent_paths", "without_previews"]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HOSTS = ("127.0.0.1", "localhost")
EVENTS, FILE = "/gradio_api/queue/join", "/gradio_api/file="
# What the page itself asks for; all else that Gradio offers, such as fetching from other servers, is closed.
OPEN = (
    *("/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/gradio_api/info"),
    *("/gradio_api/queue/", "/gradio_api/upload", "/gradio_api/heartbeat/", "/gradio_api/startup-events"),
    *("/gradio_api/component_server", "/gradio_api/cancel", "/gradio_api/reset", FILE),
    *("/assets/", "/static/", "/svelte/", "/gradio_api/stream/", "/pwa_icon"),
)
# Browsers that heed it load nothing from elsewhere, whatever the page's own scripts ask for.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        *(f"{kind} 'self' data: blob:" for kind in ("img-src", "media-src", "font-src", "connect-src", "worker-src")),
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
# Previews of the page for social networks, which name pictures and pages elsewhere.
PREVIEW = re.compile(rb'<meta\s+(?:property|name)="(?:og|twitter):[^>]*?/?>')


def without_previews(page: bytes) -> bytes:
    """The page without what it would tell social networks."""
    return PREVIEW.sub(b"", page)


def sent_paths(content: Any) -> Iterator[str]:
    """All that stands as a file's path anywhere in what a client sent."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name == "path" and isinstance(value, str):
                yield value
            yield from sent_paths(value)
    elif isinstance(content, list):
        for value in content:
            yield from sent_paths(value)


class Gate:
    """An ASGI application that lets through to another what the explorer's own page asks for.

    Args:
        app: The other one.
        uploads: The folder of uploaded files; no other file may be named.
        max_bytes: Of one request.
    """

    def __init__(self, app: Any, uploads: Path, max_bytes: int) -> None:
        self._app, self._uploads, self._max_bytes = app, uploads.resolve(), max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        reason = self._refused(scope, headers)
        if reason is not None:
            await _refuse(send, *reason)
            return
        if scope["path"].rstrip("/") == EVENTS:
            body = await _whole(receive)
            if not self._names_uploads_only(body):
                await _refuse(send, 400, "a file was named that was not uploaded")
                return
            receive = _again(body, receive)
        from starlette.requests import ClientDisconnect

        with suppress(ClientDisconnect):  # who asked has left
            await self._app(scope, receive, _guarded(send, scope["path"] == "/"))

    def _refused(self, scope: Message, headers: dict[bytes, str]) -> tuple[int, str] | None:
        """Status and reason, if a request is not let through."""
        if scope["type"] != "http":
            return 403, "only HTTP"
        # Pages of other servers could ask under their own name (DNS rebinding), or from a browser's other window.
        if headers.get(b"host", "").partition(":")[0] not in HOSTS:
            return 403, "this page is for this machine only, as 127.0.0.1"
        origin = headers.get(b"origin")
        if origin is not None and origin != f"http://{headers[b'host']}":
            return 403, "asked by a page from elsewhere"
        if not (scope["path"] == "/" or scope["path"].startswith(OPEN)):
            return 404, "nothing here"
        if scope["path"].startswith(FILE) and not self._is_upload(scope["path"].removeprefix(FILE)):
            return 403, "not a file of this page"
        length = headers.get(b"content-length", "0")
        if b"transfer-encoding" in headers or not length.isdecimal() or int(length) > self._max_bytes:
            return 413, f"more than {self._max_bytes / 2**20:.0f} MiB are not taken"
        return None

    def _names_uploads_only(self, body: bytes) -> bool:
        try:
            return all(self._is_upload(path) for path in sent_paths(json.loads(body)))
        except (RecursionError, ValueError):
            return False

    def _is_upload(self, path: str) -> bool:
        try:
            return Path(path).resolve().is_relative_to(self._uploads)
        except (OSError, RuntimeError, ValueError):
            return False


async def _whole(receive: Receive) -> bytes:
    """The body of a request."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives the body once more, and then what comes after it."""
    kept: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return kept.pop() if kept else await receive()

    return given


async def _refuse(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})


def _guarded(send: Send, is_page: bool) -> Send:
    """Sends with the headers that keep a browser on this machine; the page itself without previews."""
    start: list[Message] = []
    page: list[bytes] = []

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS.items()]
            if is_page:
                start.append(message)
                return
        elif is_page and message["type"] == "http.response.body":
            page.append(message.get("body", b""))
            if message.get("more_body"):
                return
            content = without_previews(b"".join(page))
            kept = [(name, value) for name, value in start[0]["headers"] if name.lower() != b"content-length"]
            await send({**start[0], "headers": [*kept, (b"content-length", str(len(content)).encode())]})
            message = {**message, "body": content}
        await send(message)

    return guarded
