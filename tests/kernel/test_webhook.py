"""`task(webhook=)`: how the URL reaches the server, and nobody else."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jupyter_sse import task

if TYPE_CHECKING:
    from kernel.link_server import LinkServer

URL = "https://hooks.example.org/services/hidden?key=hidden"


def test_the_server_has_it_before_the_first_event_and_no_event_has_it(linked: LinkServer) -> None:
    with task("Train", webhook=URL) as work:
        work.log("on its way")
        assert "hidden" not in repr(work)
    linked.wait(lambda: linked.ended(work.id))
    assert linked.webhooks == [(work.id, URL)]
    assert "hidden" not in json.dumps(linked.streams)


def test_the_next_server_is_told_as_well_though_nothing_happens(linked: LinkServer) -> None:
    with task("Silent", webhook=URL) as work, task("Without") as other:
        linked.wait(lambda: other.id in linked.streams and work.id in linked.streams)
        linked.cut()
        linked.wait(lambda: linked.webhooks == [(work.id, URL)] * 2)
        assert len(linked.streams[work.id]) == 1
    linked.wait(lambda: linked.ended(work.id))


def test_a_server_that_is_too_old_says_so(linked: LinkServer) -> None:
    linked.webhooks = None
    with pytest.warns(RuntimeWarning, match="too old to send webhooks") as warned:
        with task("One", webhook=URL) as work:
            linked.wait(lambda: work.id in linked.streams)
        linked.wait(lambda: linked.ended(work.id))
    assert "hidden" not in str(warned[0].message)


def test_without_a_server_it_says_that_nothing_will_be_sent() -> None:
    code = f"from jupyter_sse import task\nwith task('Alone', webhook={URL!r}) as t: pass\nprint(t.status)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split()[-1] == "done"
    assert "the webhook will not be sent" in done.stderr
    assert "connect(url, token)" in done.stderr
    assert "hidden" not in done.stderr


@pytest.mark.parametrize("url", ["ftp://hidden/", "hidden", "http://", "https://x:hidden/", "https://x/ hidden", b"x"])
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="webhook") as refused:
        task("T", webhook=url)
    assert "hidden" not in str(refused.value)
