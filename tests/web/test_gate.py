"""The gate in front of an application that answers everything."""

import asyncio
import json

import pytest

from abpnet.web.gate import POLICY, Gate, sent_paths, without_previews

PAGE = b'<head><meta property="og:image" content="https://elsewhere/a.png" /><meta name="x"></head>'


def ask(gate, path="/", method="GET", body=b"", kind="http", **headers):
    """Status, headers and body of what is answered; and what the application behind got to see."""
    sent, kept = [], {"host": "127.0.0.1:7860", "content-length": str(len(body)), **headers}
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in kept.items()],
    }
    parts = [body[:3], body[3:]]

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), content


@pytest.fixture
def behind():
    """What came through."""
    return []


@pytest.fixture
def gate(tmp_path, behind):
    async def app(scope, receive, send):
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        behind.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"999")]})
        await send({"type": "http.response.body", "body": PAGE[:20], "more_body": True})
        await send({"type": "http.response.body", "body": PAGE[20:]})

    (tmp_path / "uploads").mkdir()
    return Gate(app, tmp_path / "uploads", 1000)


def test_the_page_comes_without_previews_and_is_told_to_load_nothing_from_elsewhere(gate):
    status, headers, content = ask(gate)
    assert (status, content) == (200, b'<head><meta name="x"></head>')
    assert headers[b"content-length"] == str(len(content)).encode()
    assert headers[b"content-security-policy"] == POLICY.encode()
    assert "default-src 'self'" in POLICY
    assert "http" not in POLICY
    assert ask(gate, "/assets/index.js")[2] == PAGE, "other answers are passed on as they are"
    assert without_previews(PAGE) == content


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example:7860", ""])
def test_other_names_of_this_machine_are_refused(gate, behind, host):
    assert ask(gate, host=host)[0] == 403
    assert ask(gate, host="localhost:7860")[0] == 200
    assert len(behind) == 1


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8000", "https://127.0.0.1:7860"])
def test_pages_of_other_origins_are_refused(gate, behind, origin):
    assert ask(gate, "/gradio_api/queue/join", "POST", b"{}", origin=origin)[0] == 403
    assert ask(gate, "/gradio_api/queue/join", "POST", b"{}", origin="http://127.0.0.1:7860")[0] == 200
    assert len(behind) == 1


@pytest.mark.parametrize(
    "path", ["/gradio_api/proxy=https://x.hf.space/", "/gradio_api/run/predict", "/monitoring", "/login", "/docs"]
)
def test_what_the_page_does_not_need_is_closed(gate, behind, path):
    assert ask(gate, path)[0] == 404
    assert behind == []


@pytest.mark.parametrize("kind", ["websocket"])
def test_nothing_but_http(gate, behind, kind):
    assert ask(gate, kind=kind)[0] == 403
    assert behind == []


def test_only_uploaded_files_are_given(gate, behind, tmp_path):
    assert ask(gate, f"/gradio_api/file={tmp_path}/uploads/a.png")[0] == 200
    for path in ("/etc/passwd", f"{tmp_path}/uploads/../secret", "https://evil.example/x", "relative", "/\0"):
        assert ask(gate, f"/gradio_api/file={path}")[0] == 403, path
    assert len(behind) == 1


def test_only_uploaded_files_can_be_named(gate, behind, tmp_path):
    def named(path):
        body = json.dumps({"data": [1, {"layers": [{"path": path}]}], "fn_index": 0}).encode()
        return ask(gate, "/gradio_api/queue/join", "POST", body)[0], body

    status, body = named(f"{tmp_path}/uploads/hash/a.png")
    assert (status, behind) == (200, [("/gradio_api/queue/join", body)])
    for path in ("/etc/passwd", f"{tmp_path}/uploads/../../x", "https://evil.example/x.png", "\0"):
        assert named(path)[0] == 400, path
    assert ask(gate, "/gradio_api/queue/join", "POST", b"no json")[0] == 400
    assert ask(gate, "/gradio_api/queue/join", "POST", b"[" * 900)[0] == 400
    assert len(behind) == 1


def test_a_link_among_the_uploads_leads_nowhere(gate, tmp_path):
    (tmp_path / "uploads" / "link").symlink_to("/etc")
    assert ask(gate, f"/gradio_api/file={tmp_path}/uploads/link/passwd")[0] == 403


def test_requests_that_are_too_large_are_not_taken(gate, behind):
    assert ask(gate, "/gradio_api/upload", "POST", b"x" * 1000)[0] == 200
    assert ask(gate, "/gradio_api/upload", "POST", b"x" * 1001)[0] == 413
    assert ask(gate, "/gradio_api/upload", "POST", b"x", content_length="-1")[0] == 413
    assert ask(gate, "/gradio_api/upload", "POST", b"x", transfer_encoding="chunked")[0] == 413
    assert len(behind) == 1


def test_paths_are_found_wherever_they_stand():
    sent = {"path": "a", "x": [{"path": "b", "y": {"path": 3}}, ["c", {"path": "d"}]]}
    assert list(sent_paths(sent)) == ["a", "b", "d"]
