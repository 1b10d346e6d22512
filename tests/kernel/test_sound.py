"""`t.audio`: chunks of sound, and the whole that they become."""

from __future__ import annotations

import base64
import io
import struct
import wave
from typing import Any

import pytest

from jupyter_sse import stream, task
from jupyter_sse.events import Audio, Preview
from jupyter_sse.kernel import record, sound
from jupyter_sse.kernel.producer import Producer


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    events: list[Any] = []
    original = Producer.emit

    def remember(self: Producer, event: Any, size: int = 0) -> None:
        events.append(event)
        original(self, event, size)

    monkeypatch.setattr(Producer, "emit", remember)
    return events


def chunks(emitted: list[Any]) -> list[tuple[int, str, bytes]]:
    return [(event.n, event.mime, base64.b64decode(event.data)) for event in emitted if isinstance(event, Audio)]


def whole(emitted: list[Any]) -> tuple[str, bytes]:
    (shown,) = [event for event in emitted if isinstance(event, Preview)]
    assert shown.key == sound.WHOLE
    assert emitted[-2] is shown  # the last but the end
    return shown.mime, base64.b64decode(shown.data or "")


def heard(raw: bytes) -> tuple[int, int, bytes]:
    with wave.open(io.BytesIO(raw)) as file:
        return file.getframerate(), file.getnchannels(), file.readframes(file.getnframes())


def wav(samples: bytes, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()


def test_arrays_are_samples_and_the_whole_is_one_file(emitted: list[Any]) -> None:
    numpy = pytest.importorskip("numpy")
    with task("Speak") as t:
        t.audio(numpy.array([0.0, 0.5, -1.0]), rate=24000)
        t.audio(numpy.array([1, -2], numpy.int16), rate=24000)
    samples = struct.pack("<3h", 0, 16384, -32767), struct.pack("<2h", 1, -2)
    mime = "audio/pcm;rate=24000;channels=1"
    assert chunks(emitted) == [(0, mime, samples[0]), (1, mime, samples[1])]
    kind, raw = whole(emitted)
    assert (kind, heard(raw)) == ("audio/wav", (24000, 1, b"".join(samples)))
    assert t.snapshot.audio is not None
    assert (t.snapshot.audio.count, t.snapshot.audio.first) == (2, 2)


def test_long_chunks_are_cut(emitted: list[Any]) -> None:
    raw = bytes(range(256)) * 2048
    with task("Speak") as t:
        t.audio(raw, "audio/mpeg")
    parts = chunks(emitted)
    assert [n for n, _, _ in parts] == [0, 1, 2]
    assert b"".join(part for _, _, part in parts) == raw == whole(emitted)[1]


@pytest.mark.parametrize(
    ("begins", "mime"),
    [
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xf1\x50", "audio/aac"),
        (b"OggS", "audio/ogg"),
        (b"\x1aE\xdf\xa3", "audio/webm"),
        (b"fLaC", "audio/flac"),
    ],
)
def test_bytes_are_known_by_the_first_of_them(begins: bytes, mime: str, emitted: list[Any]) -> None:
    with task("Speak") as t:
        t.audio(begins + b"one")
        t.audio(b"two")
    assert [kind for _, kind, _ in chunks(emitted)] == [mime, mime]
    assert whole(emitted) == (mime, begins + b"onetwo")


def test_files_of_wav_and_the_parts_of_one_become_one_file(emitted: list[Any]) -> None:
    first, second = wav(b"\1\0\2\0"), wav(b"\3\0\4\0")
    endless = second[:40] + b"\xff\xff\xff\xff" + second[44:]
    with task("Speak") as t:
        for part in (first, endless[:-1], endless[-1:], b"\5\0"):
            t.audio(part)
    assert {kind for _, kind, _ in chunks(emitted)} == {"audio/wav"}
    assert heard(whole(emitted)[1]) == (8000, 1, b"\1\0\2\0\3\0\4\0\5\0")


def test_samples_of_the_network_are_turned_for_the_file(emitted: list[Any]) -> None:
    with task("Speak") as t:
        t.audio(b"\0\1\0\2", "audio/L16;rate=16000")
    assert heard(whole(emitted)[1]) == (16000, 1, b"\1\0\2\0")


def test_what_is_too_long_is_played_and_not_kept(emitted: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "KEPT", 1000)
    with task("Speak") as t:
        for _ in range(3):
            t.audio(bytes(400), rate=8000)
    assert len(chunks(emitted)) == 3
    assert not any(isinstance(event, Preview) for event in emitted)


def test_a_failure_keeps_what_was_said(emitted: list[Any]) -> None:
    with pytest.raises(ZeroDivisionError), task("Speak") as t:
        t.audio(b"\1\0", rate=8000)
        raise ZeroDivisionError
    assert heard(whole(emitted)[1]) == (8000, 1, b"\1\0")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: t.audio(b"who knows"), "say `mime=`"),
        (lambda t: t.audio("text"), "not str"),
        (lambda t: t.audio(b"x", "image/png"), "of a type such as audio/mpeg"),
        (lambda t: (t.audio(b"x", "audio/mpeg"), t.audio(b"x", "audio/aac")), "it has begun with audio/mpeg"),
    ],
)
def test_what_is_no_sound_is_refused(call: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says), task("Speak") as t:
        call(t)


@pytest.mark.parametrize(
    ("mime", "raw"),
    [
        ("audio/pcm;rate=fast", b"\1\0"),
        ("audio/pcm;channels=0", b"\1\0"),
        ("audio/pcm;channels=99999", b"\1\0"),
        ("audio/wav", wav(b"")[:40]),
    ],
)
def test_a_sound_of_which_no_file_can_be_made_ends_all_the_same(mime: str, raw: bytes, emitted: list[Any]) -> None:
    with task("Speak") as t:
        t.audio(raw, mime)
    assert t.status == "done"
    assert chunks(emitted) == [(0, mime, raw)]


def test_a_spoken_answer_of_openai(emitted: list[Any]) -> None:
    def said(**audio: str) -> dict[str, Any]:
        return {"id": "1", "choices": [{"index": 0, "delta": {"audio": audio}, "finish_reason": None}]}

    answer = stream(
        [said(id="a", transcript="Hel"), said(data="AQA="), said(transcript="lo", data="AgA="), said(data="")]
    )
    assert answer.text == "Hello"
    mime = "audio/pcm;rate=24000;channels=1"
    assert chunks(emitted) == [(0, mime, b"\1\0"), (1, mime, b"\2\0")]
    assert heard(whole(emitted)[1]) == (24000, 1, b"\1\0\2\0")


def test_a_page_that_the_kernel_feeds_gets_the_last_chunks_with_the_state() -> None:
    with task("Speak") as t:
        for _ in range(10):
            t.audio(bytes(60_000), rate=8000)
        assert t.snapshot.seq == 11  # what has been told, the link has
        told = t._running.sound
        assert told is not None
        assert sum(len(event.data) for _, event in told["chunks"]) <= record.SOUND
        (first, event), (last, _) = told["chunks"][0], told["chunks"][-1]
        assert (last, first, event.n) == (11, told["from"] + 1, told["from"] - 1)
        assert told["from"] > 3
