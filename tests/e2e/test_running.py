"""JupyterLab's panel of what runs, and notifications."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Notebook, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import Locator, Page, expect
from test_lab import GATE, opened, status

CELL = """
with task("Bake {name}") as t:
    for i in track(range(4), "rounds"):
        wait_for(f"{name}-{{i}}")
"""
FILLER = "\n".join(["# a long notebook"] * 40)


def panel(page: Page) -> Locator:
    """The panel, open."""
    panel = page.locator(".jp-RunningSessions")
    if not panel.is_visible():
        page.get_by_role("tab", name=re.compile("Running Terminals and Kernels")).click()
    expect(panel.get_by_text("Streams", exact=True)).to_be_visible()
    return panel


def row(page: Page, title: str) -> Locator:
    return panel(page).locator(".jsse-running", has_text=title)


def press(item: Locator, label: str) -> None:
    item.hover()
    item.get_by_title(label, exact=True).click()


def test_the_panel_shows_streams_jumps_to_their_cells_cancels_and_forgets(
    open_notebook: Any, lab: JupyterServer
) -> None:
    notebook = open_notebook(GATE, CELL.format(name="bread"), *[FILLER] * 6, CELL.format(name="cake"))
    page = notebook.page
    notebook.run(0)
    notebook.run(1)
    item = row(page, "Bake bread")
    expect(item).to_contain_text("0 %")
    opened(notebook, "bread-0")
    opened(notebook, "bread-1")
    expect(item).to_contain_text("50 %")

    notebook.cell(7).scroll_into_view_if_needed()
    expect(notebook.view(1)).not_to_be_in_viewport()
    item.locator(".jp-RunningSessions-itemLabel").click()
    expect(notebook.view(1)).to_be_in_viewport()

    with page.expect_response(re.compile("/cancel$")):
        press(item, "Cancel")
    opened(notebook, "bread-2")
    status(notebook.view(1), "cancelled")
    expect(item).to_contain_text("Cancelled")
    page.screenshot(path=notebook.path.with_suffix(".png"))
    press(item, "Forget")
    expect(item).to_have_count(0)
    left = lab.request("GET", "streams", params={"path": notebook.path.name}).json()
    assert left == []


def test_what_was_started_elsewhere_is_listed_at_once(open_notebook: Any, lab: JupyterServer) -> None:
    notebook = open_notebook("x = 1")
    page = notebook.page
    panel(page)
    stream = lab.create(title="تدريب النموذج", kind="task")
    lab.append(stream, '{"type":"step","step":3,"of":8,"message":"Mixing"}')
    item = row(page, "تدريب النموذج")
    expect(item).to_contain_text("[3/8] Mixing")
    with page.context.expect_page() as opening:
        item.locator(".jp-RunningSessions-itemLabel").click()
    assert opening.value.url.endswith(f"/jupyter-sse/#/{stream}")
    lab.append(stream, '{"type":"error","message":"burnt"}')
    expect(item).to_contain_text("Failed")


def settings(server: JupyterServer, plugin: str, values: dict[str, Any]) -> None:
    url = f"{server.root}lab/api/settings/jupyter-sse:{plugin}"
    answer = httpx.put(url, headers=server.headers, json={"raw": json.dumps(values)}, trust_env=False)
    assert answer.status_code == 204, answer.text


@pytest.mark.parametrize("permission", ["granted", "denied"])
def test_a_long_stream_that_ends_in_a_hidden_tab_is_told(
    page: Page, lab: JupyterServer, tmp_path: Path, permission: str
) -> None:
    settings(lab, "notifications", {"afterSeconds": 0})
    page.add_init_script(
        f"""
        window.told = [];
        window.Notification = class {{
          static permission = "{permission}";
          constructor(message, options) {{ window.told.push([message, options.tag]); }}
        }};
        Object.defineProperty(Document.prototype, "hidden", {{ get: () => window.away === true }});
        """
    )
    notebook = Notebook(page, lab, write_notebook(lab, f"told-{permission}.ipynb", GATE, CELL.format(name=permission)))
    notebook.open()
    notebook.run(0)
    view = notebook.run(1)
    status(view, "running")
    stream = view.get_attribute("data-sse-stream")
    page.evaluate("window.away = true")
    for index in range(4):
        opened(notebook, f"{permission}-{index}")
    message = re.compile(rf"Bake {permission} is done after 0:\d\d\.")
    expect(page.locator(".Toastify__toast", has_text=message)).to_be_visible()
    told = page.evaluate("window.told")
    if permission == "granted":
        [[text, tag]] = wait_for(lambda: page.evaluate("window.told"), "the desktop to be told")
        assert message.fullmatch(text)
        assert tag == f"jupyter-sse:{stream}"
    else:
        assert told == []
    settings(lab, "notifications", {})


def test_the_settings_are_in_jupyterlabs_own(lab: JupyterServer) -> None:
    for plugin, names in {"running": {"ended"}, "notifications": {"enabled", "afterSeconds", "stalled"}}.items():
        url = f"{lab.root}lab/api/settings/jupyter-sse:{plugin}"
        schema = httpx.get(url, headers=lab.headers, trust_env=False).json()["schema"]
        assert set(schema["properties"]) == names


def test_notebook_7_lists_them_too(page: Page, make_server: Any, tmp_path: Path) -> None:
    server = make_server(app="notebook", home=tmp_path / "notebook")
    stream = server.create(title="Seven", kind="task")
    page.goto(f"{server.root}tree?token={server.token}")
    page.get_by_role("tab", name="Running").click()
    item = page.locator(".jsse-running", has_text="Seven")
    expect(item).to_be_visible()
    press(item, "Cancel")
    wait_for(
        lambda: server.append(stream, '{"type":"log","text":"still there"}').json().get("cancelled"),
        "the cancel to arrive",
    )
    server.append(stream, '{"type":"done","reason":"cancelled"}')
    expect(item).to_contain_text("Cancelled")


SHOWN = """(element, length) => {
  const [text] = element.childNodes, range = document.createRange(), box = element.getBoundingClientRect();
  range.setStart(text, 0);
  range.setEnd(text, length);
  const { left, right } = range.getBoundingClientRect();
  return left >= box.left && right <= box.right;
}"""


def test_a_narrow_panel_shows_how_titles_begin_and_what_is_wrong(page: Page, lab: JupyterServer) -> None:
    arabic, silent = "تدريب النموذج على البيانات الجديدة كلها", "A long title of work of which nothing is heard"
    lab.create(title=arabic)
    lab.create(title=silent, stall=0.1)
    page.goto(f"{lab.root}lab?reset&token={lab.token}")
    label = row(page, arabic).locator(".jp-RunningSessions-itemLabel")
    expect(label).to_be_visible()
    assert label.evaluate(SHOWN, len("تدريب"))
    detail = row(page, silent).locator(".jp-RunningSessions-itemDetail")
    expect(detail).to_contain_text("no news for")
    assert detail.evaluate(SHOWN, len("no news for 1 s"))
