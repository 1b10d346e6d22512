"""A chat as an output, over real HTTP."""

from __future__ import annotations

import httpx
from harness import JupyterServer

from jupyter_sse.output import MIME

CHAT = {
    "chat": "c1",
    "kernel": "k1",
    "messages": [
        {"id": "u1", "role": "user", "content": "Q <b>"},
        {"id": "a1", "role": "assistant", "content": "A", "status": "done", "model": "demo"},
    ],
    "model": None,
    "models": [],
    "system": None,
    "title": "T",
    "rev": 7,
}


def test_a_chat_becomes_the_data_of_an_output(server: JupyterServer) -> None:
    answer = server.request("POST", "chat/output", json=CHAT)
    assert answer.status_code == 200
    data = answer.json()
    assert set(data) == {MIME, "text/markdown", "text/plain"}
    assert data[MIME] == {"v": 1, **CHAT}
    assert data["text/markdown"] == "**T**\n\n**You:**\n\nQ &lt;b>\n\n**demo:**\n\nA"


def test_what_is_no_chat_is_refused(server: JupyterServer) -> None:
    for body in (b"{", b"[]", b'{"messages": [{"id": "1", "role": "tool", "content": ""}]}'):
        answer = server.request("POST", "chat/output", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_chat")
    answer = server.request("POST", "chat/output", content=b" " * (9 << 20))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_only_who_may_ask_is_answered(server: JupyterServer) -> None:
    answer = httpx.post(f"{server.url}chat/output", json=CHAT, trust_env=False)
    assert answer.status_code == 403
