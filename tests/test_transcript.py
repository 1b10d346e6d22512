"""A chat as a notebook keeps it, and what a change makes of it."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_sse.output import MIME
from jupyter_sse.transcript import ROOM, Change, ChatError, ChatMessage, ChatState, changed, chatbundle

ASKED = ChatMessage(id="u1", role="user", content="What is <b>it</b>?")
ANSWERED = ChatMessage(id="a1", role="assistant", content="It is *it*.", stream="s1", status="done", model="open_ai:x")


def ids(state: ChatState) -> list[str]:
    return [message.id for message in state.messages]


def test_a_change_cuts_and_puts_and_made_twice_it_changes_nothing_more() -> None:
    state = ChatState(messages=[ASKED, ANSWERED], model="m")
    change = Change(cut="a1", put=[msgspec.structs.replace(ANSWERED, id="a2")])
    once = changed(state, change)
    assert (ids(once), once.model, once.rev) == (["u1", "a2"], "m", 1)
    assert changed(once, change).messages == once.messages
    again = changed(once, Change(put=[msgspec.structs.replace(ASKED, content="What?")], model=None))
    assert (ids(again), again.messages[0].content, again.model) == (["u1", "a2"], "What?", None)
    assert ids(state) == ["u1", "a1"]


@pytest.mark.parametrize("change", [Change(), Change(cut="x", put=[ASKED], model="m"), Change(model=None)])
def test_a_change_goes_through_json(change: Change) -> None:
    assert msgspec.json.decode(msgspec.json.encode(change), type=Change) == change


def test_the_output_of_a_chat_reads_well_and_shows_html_as_text() -> None:
    failed = ChatMessage(id="a2", role="assistant", content="Half", status="error", error=ChatError("No.\nNot *now*"))
    data = chatbundle("c1", ChatState(messages=[ASKED, ANSWERED, ASKED, failed], title="My_chat", rev=4), "k1")
    assert data["text/markdown"].split("\n\n") == [
        "**My\\_chat**",
        "**You:**",
        "What is &lt;b>it&lt;/b>?",
        "**open\\_ai:x:**",
        "It is *it*.",
        "**You:**",
        "What is &lt;b>it&lt;/b>?",
        "**Assistant:**",
        "Half",
        "*Failed: No. Not \\*now\\**",
    ]
    assert data["text/plain"].endswith("Assistant: Half\nFailed: No. Not *now*")
    chat = data[MIME]
    assert (chat["chat"], chat["kernel"], chat["title"], chat["rev"]) == ("c1", "k1", "My_chat", 4)
    assert chat["messages"][1] == msgspec.to_builtins(ANSWERED)
    assert msgspec.convert(chat, ChatState).messages[3] == failed


def test_what_is_kept_of_a_long_chat_is_bounded_and_the_newest() -> None:
    messages = [ChatMessage(id=str(i), role="user", content="x" * (ROOM // 10)) for i in range(30)]
    data = chatbundle("c1", ChatState(messages=[*messages, ASKED]))
    kept = data[MIME]["messages"]
    assert [message["id"] for message in kept] == [*map(str, range(21, 30)), "u1"]
    assert "*21 earlier messages are left out*" in data["text/markdown"]
    assert len(data["text/plain"]) < 70_000
    huge = chatbundle("c1", ChatState(messages=[msgspec.structs.replace(ASKED, content="y" * (2 * ROOM))]))
    assert len(huge[MIME]["messages"][0]["content"]) < ROOM
    assert "more characters" in huge["text/markdown"]


def test_an_empty_chat_says_so() -> None:
    data = chatbundle("c1", ChatState())
    assert (data["text/markdown"], data["text/plain"]) == ("*An empty chat*", "An empty chat")
