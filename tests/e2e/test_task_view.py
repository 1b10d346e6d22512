"""A task's view in a real JupyterLab: pictures that are replaced and go by reference, results, errors."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import pytest
from browser import Notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import Locator, Page, expect
from test_lab import GATE, MIME, bundles, opened, status, streams

PICTURES = """
import numpy
from PIL import Image
generator = numpy.random.default_rng(1)
with task("Sharpen") as t:
    for size in (8, 64, 512):
        image = generator.integers(0, 256, (size, size, 3), dtype=numpy.uint8)
        t.preview(image, key="image", alt=f"{size} x {size}")
        wait_for(f"picture-{size}")
    t.preview(numpy.sin(numpy.arange(8000) / 5), rate=8000, alt="A tone")
    t.result = Image.fromarray(image)
"""
FAILURE = """
with task("Fail") as t:
    t.step("Begin")
    raise ValueError("no such luck")
"""
RESULTS = """
from IPython.display import Markdown
class Film:
    data, mimetype = b"\\0\\0\\0\\x18ftypisom", "video/mp4"
for value in (Markdown("**well** <script>done</script>"), {"loss": 0.5}, "https://example.org/report", Film()):
    with task("Result") as t:
        t.result = value
"""


def loaded(image: Locator, width: int) -> None:
    wait_for(lambda: image.evaluate("image => image.complete && image.naturalWidth") == width, f"{width} pixels")


def test_pictures_are_replaced_and_large_ones_go_by_reference(
    open_notebook: Any, page: Page, lab: JupyterServer
) -> None:
    pytest.importorskip("numpy")
    pil = pytest.importorskip("PIL.Image")
    notebook: Notebook = open_notebook(GATE, PICTURES)
    notebook.run(0)
    view = notebook.run(1)
    image = view.locator("[data-sse-part=preview] img")
    for size in (8, 64, 512):
        expect(view.locator("figcaption")).to_have_text(f"{size} x {size}")
        loaded(image, size)
        if size == 512:
            url = image.get_attribute("src") or ""
            assert url.startswith("/jupyter-sse/streams/")
            page.reload()  # and again without the kernel, which is busy
            page.locator(".jp-Notebook .jp-Cell").first.wait_for()
            loaded(image, size)
            answer = httpx.get(lab.root.rstrip("/") + url, headers=lab.headers, trust_env=False)
            assert answer.headers["Content-Security-Policy"].startswith("sandbox")
            assert httpx.get(lab.root.rstrip("/") + url, trust_env=False).status_code == 403
        opened(notebook, f"picture-{size}")
    status(view, "done")
    audio = view.locator("audio")
    wait_for(lambda: audio.evaluate("audio => audio.duration") == 1, "the sound to be loaded")
    loaded(view.locator("[data-sse-part=result] img"), 512)
    notebook.wait_idle()
    (entry,) = streams(lab, notebook)
    assert entry["bytes"] > 512 * 512 * 3

    def ended() -> dict[str, Any] | None:
        (bundle,) = bundles(notebook.save(), 1)
        return bundle if "snapshot" in bundle[MIME] else None

    bundle = wait_for(ended, "the end to be in the notebook")
    assert "/jupyter-sse/" not in bundle["text/markdown"]
    picture = base64.b64decode(bundle[MIME]["snapshot"]["previews"][0]["data"])
    assert pil.open(io.BytesIO(picture)).size == (512, 512)
    # The stream goes, the notebook stays as it is.
    assert lab.request("DELETE", f"streams/{entry['stream']}").status_code == 204
    assert httpx.get(lab.root.rstrip("/") + url, headers=lab.headers, trust_env=False).status_code == 410
    notebook.open()
    loaded(notebook.view(1).locator("[data-sse-part=preview] img"), 512)


def test_a_failure_says_what_and_shows_where_on_demand(open_notebook: Any) -> None:
    notebook: Notebook = open_notebook(GATE, FAILURE)
    notebook.run(0)
    view = notebook.run(1)
    status(view, "error")
    notebook.wait_idle()
    expect(view.get_by_role("alert")).to_have_text("ValueError: no such luck")
    trace = view.locator(".jsse-traceback")
    expect(trace).to_be_hidden()
    view.get_by_text("Traceback", exact=True).click()
    expect(trace).to_contain_text('raise ValueError("no such luck")')
    (bundle, *_) = [bundle for bundle in bundles(notebook.save(), 1) if MIME in bundle]
    assert "<details><summary>Traceback</summary>" in bundle["text/markdown"]
    assert json.dumps(bundle).count("Traceback (most recent call last)") <= 3


def test_results_are_shown_for_what_they_are(open_notebook: Any, page: Page) -> None:
    notebook: Notebook = open_notebook(GATE, RESULTS)
    notebook.run(0)
    notebook.run(1)
    views = notebook.view(1).locator("[data-sse-part=result]")
    notebook.wait_idle()
    expect(views).to_have_count(4)
    expect(views.nth(0).locator("strong")).to_have_text("well")
    expect(views.nth(0)).to_contain_text("<script>done</script>")
    expect(views.nth(1)).to_contain_text('"loss": 0.5')
    expect(views.nth(2).get_by_role("link")).to_have_attribute("href", "https://example.org/report")
    # Chromium cannot play what is no film: that is said, and nothing breaks.
    expect(views.nth(3)).to_contain_text("could not be loaded")
    for bundle in bundles(notebook.save(), 1):
        assert "<script>" not in bundle["text/markdown"]
