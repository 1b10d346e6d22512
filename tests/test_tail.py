"""`jupyter sse ls`, `tail` and `cancel` as users call them, against a real server; and a stream in lines."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from faults import fault_proxy
from harness import JupyterServer, wait_for

from jupyter_sse.events import Delta, Done, Error, Event, Log, Preview, Progress, Reset, Start, Step, Tool
from jupyter_sse.state import LogTail, Snapshot
from jupyter_sse.tail import LineView, clean, exit_code, follow

SECONDS = 60
DONE = '{"type":"done"}'


def delta(text: str) -> str:
    return json.dumps({"type": "delta", "text": text})


class Command:
    """`jupyter sse ...` in a process of its own, in a terminal or not, with what it has written so far.

    terminal : its columns; 0 for none.

    The server is found by the file it has written; no token is given.
    """

    def __init__(self, server: JupyterServer, *arguments: str, terminal: int = 0, **env: str) -> None:
        everything = {key: value for key, value in server.env().items() if key not in ("JUPYTER_TOKEN", "NO_COLOR")}
        command = [sys.executable, "-m", "jupyter_sse.cli", *arguments]
        self.output = ""
        self.errors = ""
        if terminal:
            outer, inner = pty.openpty()
            fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, terminal, 0, 0))
            out, err, ends = inner, inner, [outer]
            env = {"TERM": "xterm-256color", **env}
        else:
            (outer, out), (errors, err) = os.pipe(), os.pipe()
            ends = [outer, errors]
        self.process = subprocess.Popen(command, env=everything | env, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        for inner in {out, err}:
            os.close(inner)
        names = ("output", "errors")
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True) for pair in zip(ends, names, strict=False)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, end: int, name: str) -> None:
        with open(end, "rb", buffering=0) as file:
            try:
                while data := file.read(65536):
                    setattr(self, name, getattr(self, name) + data.decode(errors="replace"))
            except OSError:  # a terminal whose other end is closed
                pass

    def has(self, text: str) -> None:
        wait_for(lambda: text in self.output + self.errors or self.process.poll() is not None, f"{text!r}")
        assert text in self.output + self.errors

    def end(self) -> int:
        code = self.process.wait(SECONDS)
        for reader in self._readers:
            reader.join(SECONDS)
        return code

    def text(self) -> str:
        """What it wrote, without colours and movements."""
        return clean(self.output.replace("\r", ""))


@pytest.fixture
def command(server: JupyterServer) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(*arguments: str, of: JupyterServer = server, **options: object) -> Command:
        started.append(Command(of, *arguments, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(SECONDS)


Start_ = Callable[..., Command]


def test_ls_lists_what_is_asked_for(server: JupyterServer, command: Start_) -> None:
    first = server.create(title="One\x1b[2J\ntitle", kind="ls-test", origin={"path": "a/b.ipynb"})
    second = server.create(title="Two", kind="ls-test")
    server.append(second, DONE)
    both = command("ls", "--kind", "ls-test")
    assert both.end() == 0, both.errors
    head, *rows = [line.split("\t") for line in both.output.splitlines()]
    assert head == ["ID", "STATUS", "KIND", "BEGAN", "TITLE", "NOTEBOOK"]
    assert sorted(row[:3] for row in rows) == sorted([[second, "done", "ls-test"], [first, "running", "ls-test"]])
    assert next(row for row in rows if row[0] == first)[4:] == ["One title", "a/b.ipynb"]
    for wanted in (["--status", "running"], ["--path", "a/b.ipynb"]):
        one = command("ls", "--json", "--kind", "ls-test", *wanted)
        assert one.end() == 0, one.errors
        assert [entry["stream"] for entry in json.loads(one.output)] == [first]
    none = command("ls", "--kind", "no-such-kind")
    assert none.end() == 0
    assert (none.output, none.errors) == ("", "No streams.\n")


def test_tail_writes_what_comes_and_ends_with_the_stream(server: JupyterServer, command: Start_) -> None:
    stream = server.create(title="Train")
    server.append(stream, '{"type":"log","text":"reading\\nfiles\\n"}', delta("Hel"))
    tail = command("tail", stream[:10])
    tail.has("reading\nfiles\nHel")
    server.append(stream, delta("lo"), '{"type":"step","step":2,"of":3,"message":"Fit"}')
    tail.has("Hello\n[2/3] Fit\n")
    server.append(stream, '{"type":"done","result":{"loss":1}}')
    assert tail.end() == 0, tail.errors
    assert tail.output == 'reading\nfiles\nHello\n[2/3] Fit\n{\n  "loss": 1\n}\n'
    assert tail.errors == "Train: done\n"


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        (DONE, 0, "done"),
        (
            '{"type":"error","message":"no","traceback":"Traceback:\\n line 7\\nError: no\\n"}',
            1,
            "failed\nTraceback:\n line 7\nError: no",
        ),
        ('{"type":"error","message":"no more memory"}', 1, "failed\nno more memory"),
        ('{"type":"done","reason":"cancelled"}', 3, "cancelled"),
        ('{"type":"done","reason":"timeout"}', 124, "stopped: timeout"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_exit_code_is_the_streams_outcome(
    server: JupyterServer, command: Start_, last: str, code: int, said: str, options: list[str]
) -> None:
    stream = server.create(title="Train")
    server.append(stream, last)
    tail = command("tail", stream, *options)
    assert tail.end() == code
    assert tail.errors == ("" if options else f"Train: {said}\n")


def test_json_is_what_a_post_of_events_takes(server: JupyterServer, command: Start_) -> None:
    events = [delta("a"), '{"type":"new_in_v9","x":1}', '{"type":"log","text":"b"}', DONE]
    stream = server.create()
    server.append(stream, *events[:1])
    tail = command("tail", "--json", "--after", "1", stream)
    tail.has('"seq":2')
    server.append(stream, *events[1:])
    assert tail.end() == 0, tail.errors
    assert [json.loads(line)["seq"] for line in tail.output.splitlines()] == [2, 3, 4, 5]
    copy = server.create()
    assert server.append(copy, *tail.output.splitlines()).status_code == 200
    again = command("tail", "--json", "--after", "1", copy)
    assert again.end() == 0, again.errors
    assert again.output == tail.output


def test_json_begins_with_the_state(server: JupyterServer, command: Start_) -> None:
    stream = server.create(title="Train")
    server.append(stream, delta("a"), DONE)
    tail = command("tail", "--json", stream)
    assert tail.end() == 0, tail.errors
    reset = json.loads(tail.output)
    assert (reset["type"], reset["seq"], reset["snapshot"]["text"]) == ("reset", 3, "a")


def test_tail_goes_on_after_every_cut(server: JupyterServer, command: Start_) -> None:
    stream = server.create()
    lines = [f"line {index}" for index in range(300)]
    with fault_proxy(server.port) as proxy:
        proxy.path = b"/events HTTP"
        proxy.cut_streams(chain([700, 3000, 1, 900], repeat(1 << 20)))
        tail = command("tail", stream, "--after", "0", url_of(server, proxy.port), JUPYTER_TOKEN=server.token)
        for start in range(0, 300, 100):
            server.append(stream, *(json.dumps({"type": "log", "text": line}) for line in lines[start : start + 100]))
        wait_for(lambda: proxy.cuts >= 4 or tail.process.poll() is not None, "the cuts")
        server.append(stream, DONE)
        assert tail.end() == 0, tail.errors
    assert tail.output.splitlines() == lines
    assert "was lost" in tail.errors
    assert server.token not in tail.errors


def url_of(server: JupyterServer, port: int) -> str:
    return f"--url=http://127.0.0.1:{port}/"


@pytest.mark.parametrize("terminal", [0, 100])
def test_ctrl_c_leaves_and_does_not_cancel(server: JupyterServer, command: Start_, terminal: int) -> None:
    stream = server.create()
    server.append(stream, delta("half a li"))
    tail = command("tail", stream, terminal=terminal)
    tail.has("half a li")
    tail.process.send_signal(signal.SIGINT)
    assert tail.end() == 130
    said = tail.text() if terminal else tail.errors
    assert f"the stream goes on. To stop it: jupyter sse cancel {stream}" in said
    assert "Traceback" not in said
    assert "cancelled" not in server.append(stream, delta("ne")).json()


def test_cancel_says_how_it_was_passed_on(server: JupyterServer, command: Start_) -> None:
    stream = server.create(cancellable=True)
    first = command("cancel", stream[:12])
    assert first.end() == 0, first.errors
    assert first.output == "The producer is told in the answer to its next POST.\n"
    assert server.append(stream, '{"type":"done","reason":"cancelled"}').json()["cancelled"]
    second = command("cancel", "--json", stream)
    assert second.end() == 0
    assert json.loads(second.output) == {"via": "ended", "message": "The stream has already ended."}


def test_a_prefix_that_says_too_little_is_refused(make_server: Callable[..., JupyterServer], command: Start_) -> None:
    server = make_server()
    ids: dict[str, str] = {}
    while (second := server.create())[0] not in ids or second[0] == "-":
        ids[second[0]] = second
    first = ids[second[0]]
    several = command("cancel", second[0], of=server)
    assert several.end() == 2
    assert f"2 streams begin with {second[0]}: {second}, {first}. Give more" in several.errors
    exact = command("cancel", first, of=server)
    assert exact.end() == 0, exact.errors
    assert server.append(first, DONE).json()["cancelled"]
    assert "cancelled" not in server.append(second, DONE).json()
    missing = command("tail", "nosuchstream", of=server)
    assert missing.end() == 2
    assert missing.errors == "jupyter sse: There is no stream with this id.\n"


def test_an_id_that_begins_with_a_dash_is_no_option(server: JupyterServer, command: Start_) -> None:
    for words in (["tail", "-ab-c_d", "--json"], ["cancel", "-hello"], ["tail", "--", "--a"]):
        missing = command(*words)
        assert missing.end() == 2
        assert missing.errors == "jupyter sse: There is no stream with this id.\n"
    shown = command("tail", "-h")
    assert shown.end() == 0


def test_what_is_wrong_is_said_in_a_line(server: JupyterServer, command: Start_, tmp_path: Path) -> None:
    refused = command("ls", url_of(server, server.port), JUPYTER_TOKEN="wr0ng", JUPYTER_RUNTIME_DIR=str(tmp_path))
    assert refused.end() == 2
    assert "did not accept the token" in refused.errors
    assert "wr0ng" not in refused.errors
    nowhere = command("ls", JUPYTER_RUNTIME_DIR=str(tmp_path))
    assert nowhere.end() == 2
    assert nowhere.errors.startswith("jupyter sse: No Jupyter server of yours runs on this machine.")
    in_argv = command("ls", f"--url={server.root}?token={server.token}")
    assert in_argv.end() == 2
    assert "set JUPYTER_TOKEN" in in_argv.errors
    assert server.token not in in_argv.errors
    unknown = command("ls", "--nosuch")
    assert unknown.end() == 2
    assert "--nosuch" in unknown.errors


def test_the_server_of_the_environment_is_taken(server: JupyterServer, command: Start_, tmp_path: Path) -> None:
    env = {"JUPYTER_SSE_URL": server.url, "JUPYTER_TOKEN": server.token, "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    listed = command("ls", **env)
    assert listed.end() == 0, listed.errors


def test_nobody_who_reads_is_no_error(server: JupyterServer) -> None:
    stream = server.create()
    line = json.dumps({"type": "log", "text": "x" * 1000})
    server.append(stream, *[line] * 500, DONE)
    tail = subprocess.Popen(
        [sys.executable, "-m", "jupyter_sse.cli", "tail", stream, "--after=0"],
        env=server.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert tail.stdout is not None
    assert tail.stderr is not None
    with tail.stdout, tail.stderr:
        tail.stdout.read(10)
        tail.stdout.close()
        assert tail.stderr.read() == b""
    assert tail.wait(SECONDS) == 141


WITHOUT = "import sys; sys.modules[{name!r}] = None; from jupyter_sse import cli; cli.main({arguments})"


def test_without_httpx_it_says_how_to_get_it() -> None:
    code = WITHOUT.format(name="httpx", arguments=["ls"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 2
    assert 'pip install "jupyter-sse[client]"' in done.stderr


# On a terminal.


def test_a_terminal_shows_bars_and_the_step_as_they_move(server: JupyterServer, command: Start_) -> None:
    pytest.importorskip("rich")
    stream = server.create(title="Train")
    server.append(stream, '{"type":"log","text":"wide \\u001b[31mred\\u001b[0m\\u001b]0;title\\u0007","level":"error"}')
    tail = command("tail", stream, terminal=100)
    tail.has("Ctrl-C leaves; the stream goes on")
    server.append(
        stream,
        '{"type":"step","step":2,"of":3,"message":"Fit"}',
        '{"type":"progress","n":20,"total":50,"rate":12.3,"label":"epochs"}',
        '{"type":"log","text":"copying 10%","key":"k"}',
    )
    wait_for(lambda: "epochs" in tail.text() and "40 % · 20/50 · 12.3 it/s" in tail.text(), "the bar")
    assert "Train · [2/3] Fit · " in tail.text()
    tail.has("copying 10%")
    server.append(stream, '{"type":"log","text":"copying 99%","key":"k"}', '{"type":"done","result":"fine"}')
    assert tail.end() == 0, tail.errors
    assert "\x1b[31mred" in tail.output
    assert "\x1b]0" not in tail.output
    assert tail.output.endswith("\x1b[0m\r\n")
    last = tail.text().rpartition("Ctrl-C leaves")[2]
    assert re.search(r"epochs ━*.* 40 % .*\nfine\n✓ Train: done( .*)?\n$", last)
    assert "copying 10%" not in last


@pytest.mark.parametrize(("columns", "head"), [(100, "ID STATUS KIND BEGAN TITLE NOTEBOOK"), (40, "ID STATUS")])
def test_a_terminal_shows_as_many_columns_as_fit(
    server: JupyterServer, command: Start_, columns: int, head: str
) -> None:
    pytest.importorskip("rich")
    kind = f"ls-terminal-{columns}"
    stream = server.create(title="A title " * 20, kind=kind, origin={"path": "folder/" * 20 + "a.ipynb"})
    listed = command("ls", "--kind", kind, terminal=columns)
    assert listed.end() == 0
    first, row = listed.text().splitlines()
    assert first.split() == head.split()
    assert row.startswith(f"{stream}  running")
    assert len(row) <= columns


@pytest.mark.parametrize("why", ["dumb", "without rich"])
def test_a_terminal_that_cannot_be_drawn_on_gets_lines(server: JupyterServer, command: Start_, why: str) -> None:
    stream = server.create(title="Train")
    server.append(stream, '{"type":"progress","n":20,"total":50}', DONE)
    if why == "dumb":
        tail = command("tail", stream, terminal=100, TERM="dumb")
    else:
        site = server.home / "without-rich"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text("import sys; sys.modules['rich'] = None\n")
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        tail = command("tail", stream, terminal=100, PYTHONPATH=path)
    assert tail.end() == 0, tail.errors
    assert tail.output == "████░░░░░░ 40 % · 20/50\r\nTrain: done\r\n"


# The lines alone.


def lines(capsys: pytest.CaptureFixture[str], *events: Event) -> str:
    follow(enumerate(events, 1), LineView())
    return capsys.readouterr().out


def test_of_a_bar_every_tenth_part_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    inner = [Progress(bar="in", parent="main", n=n, total=3) for n in range(4)]
    moves = [Progress(n=n, total=200) for n in range(0, 91)]
    written = lines(capsys, Start(), *chain.from_iterable((move, *inner) for move in moves), Done())
    assert re.findall(r"\d+/200", written) == ["0/200", "20/200", "40/200", "60/200", "80/200", "90/200"]
    assert re.findall(r"\d+/3", written) == ["3/3"]


def test_of_a_line_that_is_drawn_again_the_last_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = [Log(text=f"{n} %", key="a") for n in range(0, 101, 10)]
    assert lines(capsys, Start(), *drawn, Log(text="next"), Done()) == "100 %\nnext\n"
    view = LineView()
    for seq, event in enumerate([Start(), *drawn, Log(text="next")], 1):
        view.show(seq, event)
    assert capsys.readouterr().out == "100 %\nnext\n"  # before the stream's end
    two = chain.from_iterable((Log(text=f"a{n}", key="a"), Log(text=f"b{n}", key="b")) for n in range(9))
    assert lines(capsys, Start(), *two, Delta(text="x"), Done()) == "a8\nb8\nx\n"
    many = [Log(text=str(n), key=str(n)) for n in range(20)]
    assert lines(capsys, Start(), *many) == "".join(f"{n}\n" for n in range(20))


def test_what_else_happens_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    written = lines(
        capsys,
        Start(),
        Tool(id="1", name="search", phase="call", args={"q": "a\nb"}),
        Tool(id="1", name="search", phase="result", result="x" * 300),
        Preview(mime="image/png", url="a.png", alt="A\ncat"),
        Step(step=1, message="One"),
        Delta(text="an answer"),
        Done(),
    )
    assert written.splitlines() == [
        'search({ "q": "a\\nb" })', f"search: {'x' * 200}…", "[image/png: A cat]", "[1] One", "an answer",
    ]  # fmt: skip


def test_a_state_in_the_middle_says_that_something_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    state = Snapshot(seq=900, log=LogTail(lines=[Log(text="last")], count=500), text="so far")
    events: list[Event] = [Start(), Delta(text="so"), Reset(reason="trimmed", snapshot=state, seq=900), Done()]
    follow([(1, events[0]), (2, events[1]), (900, events[2]), (901, events[3])], LineView())
    written = capsys.readouterr()
    assert written.out == "so\n… (499 lines before)\nlast\nso far\n"
    assert written.err.startswith("Some events can no longer be had.")


def test_a_stream_cannot_speak_to_the_terminal() -> None:
    bad = "a\x1b[2Jb\x1b]8;;http://x\x07c\x1b[31md\x1b[0m\re\x08\x9b2Jf\x1b"
    assert clean(bad) == "abcde2Jf"
    assert clean(bad, colours=True) == "abc\x1b[31md\x1b[0me2Jf"
    assert clean("ة\tx\ny") == "ة\tx\ny"


def test_outcomes() -> None:
    assert exit_code(Snapshot(status="error", error=Error(message="x"))) == 1
    assert exit_code(Snapshot(status="running")) == 1
