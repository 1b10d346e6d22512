"""Programs: real ones, with what they write sent to a server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import SECONDS, wait_for

from jupyter_sse import Cancelled, run
from jupyter_sse.kernel import display, process
from jupyter_sse.kernel.run import Run, begin
from kernel.kernel_process import displays, running, text
from kernel.link_server import TOKEN, LinkServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = sys.executable
MIME = "application/vnd.jupyter-sse.v1+json"


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, linked: LinkServer) -> LinkServer:
    """Programs run as in a notebook's cell, whose output is not what is tested."""
    monkeypatch.setattr("jupyter_sse.kernel.run.in_notebook", lambda: True)
    monkeypatch.setattr(display, "show", lambda stream: None)
    return linked


def lines(program: Run, source: str | None = None) -> list[str]:
    """The last lines of what it has written."""
    return [log.text for log in program.snapshot.log.lines if source in (None, log.source)]


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Where nothing takes care of orphans one that has ended stays in the list of processes.
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def first_line(program: Run) -> str:
    found: list[str] = wait_for(lambda: lines(program), "the program's first line")
    return found[0]


def test_output_and_exit_code(notebook: LinkServer) -> None:
    done = run("echo out; echo err >&2; pwd", cwd="/", title="Three lines")
    assert (done.returncode, done.status, done.snapshot.result) == (0, "done", 0)
    assert (lines(done, "stdout"), lines(done, "stderr")) == (["out", "/"], ["err"])
    notebook.wait(lambda: notebook.ended(done.id))
    start = notebook.streams[done.id][0]
    assert (start["title"], start["kind"], start["cancellable"]) == ("Three lines", "process", True)
    assert sorted(notebook.lines(done.id)) == ["/", "err", "out"]


def test_arguments_environment_and_input(notebook: LinkServer) -> None:
    code = "import os, sys; print(sys.argv[1:], os.environ['NAME'], sys.stdin.read())"
    done = run([PYTHON, "-c", code, "a b", "$c"], env={"NAME": "x"}, input="typed")
    assert lines(done) == ["['a b', '$c'] x typed"]
    assert "'$c'" in (done.snapshot.title or "")
    assert lines(run([PYTHON, "-c", "import sys; print(repr(sys.stdin.read()))"])) == ["''"]  # nobody can type there
    much = "x" * 3_000_000
    assert lines(run("wc -c", input=much)) == [str(len(much))]
    assert run("true", input=much).returncode == 0  # which reads none of it


def test_a_program_that_fails(notebook: LinkServer) -> None:
    failed = run("echo no >&2; exit 3")
    assert (failed.returncode, failed.status) == (3, "error")
    error = failed.snapshot.error
    assert error is not None
    assert (error.message, error.code) == ("The command exited with code 3.", "exit_3")
    with pytest.raises(subprocess.CalledProcessError) as raised:
        run(["false"], check=True)
    assert (raised.value.returncode, raised.value.cmd) == (1, ["false"])
    killed = run("kill -KILL $$")
    assert killed.returncode == -signal.SIGKILL
    assert killed.snapshot.error is not None
    assert "SIGKILL" in killed.snapshot.error.message
    assert "memory" in killed.snapshot.error.message


def test_a_program_that_is_not_there(notebook: LinkServer) -> None:
    with pytest.raises(FileNotFoundError):
        run(["no-such-program"])
    with pytest.raises(FileNotFoundError):
        run("true", cwd="/no/such/folder")
    assert run("no-such-program").returncode == 127
    assert all(start["title"] == "no-such-program" for start, *_ in notebook.streams.values())


def test_programs_see_terminals(notebook: LinkServer) -> None:
    code = "import os, sys; print(*(os.isatty(fd) for fd in (0, 1, 2)), os.get_terminal_size(1).columns)"
    assert lines(run([PYTHON, "-c", code])) == [f"False True True {process.COLUMNS}"]
    coloured = run("ls --color=auto -d /", env={**os.environ, "TERM": "xterm", "LS_COLORS": "di=1;34"})
    assert lines(coloured) == ["\x1b[1;34m/\x1b[0m"]


def test_both_outputs_stay_in_order(notebook: LinkServer, tmp_path: Path) -> None:
    code = f"""
import pathlib, sys, time
for n in range(10):
    print("out", n)
    print("err", n, file=sys.stderr)
    while not pathlib.Path({str(tmp_path)!r}, str(n)).exists():
        time.sleep(0.001)
"""
    program = begin([PYTHON, "-c", code])
    for n in range(10):
        wait_for(lambda n=n: len(lines(program)) == 2 * (n + 1), "both lines")  # type: ignore[misc]
        (tmp_path / str(n)).touch()
    program.wait()
    assert lines(program) == [f"{name} {n}" for n in range(10) for name in ("out", "err")]
    much = run([PYTHON, "-c", "for n in range(500): print(n)\nraise SystemExit('the end')"])
    assert lines(much)[-2:] == ["499", "the end"]


def test_a_line_comes_when_it_is_written(notebook: LinkServer, tmp_path: Path) -> None:
    """Also one without an end, such as a question."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    waiting = begin([PYTHON, "-c", f"print('begun'); print('Sure? ', end='', flush=True); open({str(fifo)!r}).read()"])
    wait_for(lambda: lines(waiting) == ["begun", "Sure? "], "both lines")
    fifo.write_text("")
    assert lines(waiting.wait()) == ["begun", "Sure? "]


def test_a_bar_is_one_line_and_few_events(notebook: LinkServer) -> None:
    code = "import sys\nfor n in range(5001): sys.stderr.write(f'\\r{n / 50:.0f} %')\nsys.stderr.write('\\nend\\n')"
    done = run([PYTHON, "-c", code])
    assert lines(done) == ["100 %", "end"]
    notebook.wait(lambda: notebook.ended(done.id))
    assert len(notebook.streams[done.id]) < 500


def test_real_bars_of_tqdm(notebook: LinkServer) -> None:
    code = """
from tqdm import tqdm
for outer in tqdm(range(3), desc="outer"):
    for inner in tqdm(range(20), desc="inner"):
        pass
    tqdm.write(f"after {outer}")
"""
    done = run([PYTHON, "-c", code])
    assert [line for line in lines(done, "stdout") if line] == ["after 0", "after 1", "after 2"]
    bars = [line for line in lines(done, "stderr") if "outer" in line]
    assert len(bars) == 1
    assert "3/3" in bars[0]


@pytest.mark.parametrize("terminals", [True, False])
def test_much_output_is_whole(linked: LinkServer, monkeypatch: pytest.MonkeyPatch, terminals: bool, capfd: Any) -> None:
    if terminals:
        monkeypatch.setattr("jupyter_sse.kernel.run.in_notebook", lambda: True)
        monkeypatch.setattr(display, "show", lambda stream: None)
    done = run([PYTHON, "-c", "for n in range(100_000): print(f'line {n} of the output')"])
    assert done.snapshot.log.count == 100_000
    linked.wait(lambda: linked.ended(done.id), SECONDS)
    written: dict[object, str] = {}
    for event in linked.streams[done.id]:
        if event["type"] == "log" and "key" in event:
            written[event["key"]] = event["text"]  # a line that was seen before its end
        elif event["type"] == "log":
            written |= {(event["text"], line): line for line in event["text"].splitlines()}
    assert list(written.values()) == [f"line {n} of the output" for n in range(100_000)]
    assert len(linked.streams[done.id]) < 1_000


def test_output_that_is_no_text(notebook: LinkServer) -> None:
    assert lines(run(["printf", r"caf\351\n\377\376\0end"])) == ["caf\ufffd", "\ufffd\ufffdend"]
    assert run("head -c 300000 /dev/urandom").returncode == 0


def test_what_stays_in_the_background_is_not_waited_for(notebook: LinkServer) -> None:
    done = run("sleep 60 & echo $!; echo last")
    pid, last = lines(done)
    assert last == "last"
    assert not has_ended(int(pid))
    os.kill(int(pid), signal.SIGKILL)
    noisy = run("(while :; do echo again; sleep 0.05; done) & echo $!")
    pid = next(line for line in lines(noisy) if line != "again")
    assert not has_ended(int(pid))  # it may go on to write
    os.kill(int(pid), signal.SIGKILL)


def test_cancel_ends_the_whole_group(notebook: LinkServer) -> None:
    shell = begin("sleep 60 & echo $!; sleep 60; echo never")
    child = int(first_line(shell))
    notebook.wait(lambda: shell.id in notebook.streams)
    notebook.tell(op="cancel", stream=shell.id)
    with pytest.raises(Cancelled):
        shell.wait()
    assert has_ended(child)
    assert (shell.status, shell.returncode) == ("cancelled", -signal.SIGTERM)


def test_cancel_ends_those_who_do_not_listen(notebook: LinkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid()); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {deaf!r}]); "
    both = begin([PYTHON, "-c", child + deaf])
    wait_for(lambda: len(lines(both)) == 2, "both to be deaf")
    both.cancel()
    with pytest.raises(Cancelled):
        both.wait()
    assert both.returncode == -signal.SIGKILL
    wait_for(lambda: all(has_ended(int(pid)) for pid in lines(both)), "the end of both")


def test_cancel_lets_a_program_tidy_up(notebook: LinkServer) -> None:
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit('tidied')); print('ready')"
    program = begin([PYTHON, "-c", f"{code}; time.sleep(60)"])
    first_line(program)
    program.cancel()
    with pytest.raises(Cancelled):
        program.wait()
    assert lines(program) == ["ready", "tidied"]


def test_an_interrupt_of_the_cell_ends_the_program(notebook: LinkServer) -> None:
    program = begin("echo ready; sleep 60")
    first_line(program)

    def waits() -> bool:
        frame = sys._current_frames()[threading.main_thread().ident or 0]
        # Not the wait in which a thread is started.
        return any(entry.filename.endswith("handle.py") for entry in traceback.extract_stack(frame))

    def interrupt() -> None:
        wait_for(waits, "the cell to wait")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        program.wait()
    thread.join()
    assert (program.status, program.returncode) == ("cancelled", -signal.SIGTERM)


def test_await_leaves_the_loop_free(notebook: LinkServer, tmp_path: Path) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)

    async def main() -> None:
        program = run(f"cat {fifo}")  # which ends only if the loop goes on meanwhile
        assert program.returncode is None
        asyncio.get_running_loop().call_later(0.05, fifo.write_text, "from the loop\n")
        assert lines(await program) == ["from the loop"]
        with pytest.raises(subprocess.CalledProcessError):
            await run("exit 2", check=True)
        waiting = asyncio.ensure_future(asyncio.wait_for(run("echo $$; sleep 60"), 0.5))
        with pytest.raises(asyncio.TimeoutError):
            await waiting

    asyncio.run(main())


def test_in_the_background(notebook: LinkServer) -> None:
    program = run("read line; echo $line", input="hello\n", wait=False)
    assert lines(program.wait()) == ["hello"]
    assert program.wait() is program


def test_a_process_that_ends_takes_its_programs_with_it(tmp_path: Path) -> None:
    code = (
        "from jupyter_sse.kernel.run import begin\n"
        "import os, subprocess\n"
        "p = begin('echo $$; exec sleep 60')\n"
        "print(p.pid, flush=True)\n"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=True)
    pid = int(done.stdout.split()[0])
    wait_for(lambda: has_ended(pid), "the program to be gone")


def test_in_a_script_output_is_passed_on(capfdbinary: Any, linked: LinkServer) -> None:
    done = run(
        [PYTHON, "-c", "import sys, os; print(os.isatty(1)); print('e', file=sys.stderr); os.write(1, b'\\xff\\r1')"]
    )
    out, err = capfdbinary.readouterr()
    assert (out, err) == (b"False\n\xff\r1", b"e\n")
    linked.wait(lambda: linked.ended(done.id))
    assert sorted(linked.lines(done.id)) == ["1", "False", "e"]


@pytest.fixture
def kernel(server: LinkServer) -> Iterator[Any]:
    with running(JUPYTER_SSE_URL=server.url, JUPYTER_SSE_TOKEN=TOKEN) as kernel:
        yield kernel


def test_in_a_notebook(kernel: Any, server: LinkServer) -> None:
    messages = kernel.run("from jupyter_sse import run\nrun('printf \"\\\\033[32mgreen\\\\033[0m\\\\n\"; exit 4')")
    assert text(messages) == text(messages, "stderr") == ""
    final = displays(messages)[-1]["content"]["data"]
    snapshot = final[MIME]["snapshot"]
    assert [line["text"] for line in snapshot["log"]["lines"]] == ["\x1b[32mgreen\x1b[0m"]
    assert "\ngreen\n" in final["text/plain"]
    assert "exited with code 4" in final["text/markdown"]
    assert len(displays(messages)) == len(
        [m for m in displays(messages) if MIME in m["content"]["data"]]
    )  # and no Out[ ]
    awaited = kernel.run("x = await run('echo awaited')\nprint(x.returncode)")
    assert text(awaited) == "0\n"
