"""Sound, films of frames and models in a real JupyterLab in Chromium."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from browser import Notebook, write_cells, write_notebook
from harness import JupyterServer, wait_for
from playwright.sync_api import BrowserContext, Locator, Page, expect
from test_lab import GATE, MIME, QUICKSTART, bundles, opened, status, streams

# What goes to the loudspeakers goes to a tap as well, in the thread of the sound: a busy page loses nothing of it.
TAP = """
window.tapped = [];
window.contexts = [];
const module = URL.createObjectURL(new Blob([`
registerProcessor("tap", class extends AudioWorkletProcessor {
  process([input]) {
    if (input[0]) this.port.postMessage(input[0].slice());
    return true;
  }
});`], { type: "text/javascript" }));
const Real = window.AudioContext;
window.AudioContext = class extends Real {
  constructor(options) {
    super(options);
    window.contexts.push(this);
    this.bus = this.createGain();
    this.tapped = this.audioWorklet.addModule(module).then(() => {
      const tap = new AudioWorkletNode(this, "tap");
      tap.port.onmessage = ({ data }) => window.tapped.push(...data);
      this.bus.connect(tap);
    });
  }
  async resume() {
    await this.tapped;
    await super.resume();
  }
};
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target instanceof AudioDestinationNode) connect.call(this, this.context.bus);
  return connect.call(this, target, ...rest);
};
"""
# Each sample says which it is, so that one that is missing, doubled or smoothed shows.
SPEAK = """
import numpy
RATE = 24000
samples = (numpy.arange(4 * RATE) % 20_000 + 1).astype(numpy.int16)
with task("Speak") as t:
    for start in range(0, len(samples), 1111):
        t.audio(samples[start : start + 1111], rate=RATE)
        if start == 1111 * 20:
            wait_for("speak")
    wait_for("spoken")
"""
HEARD = """
() => {
  const numbers = window.tapped.map((sample) => Math.round(sample * 32768 * 1000) / 1000);
  const first = numbers.findIndex(Boolean);
  const heard = numbers.slice(first, numbers.findLastIndex(Boolean) + 1);
  const holes = heard.flatMap((number, index) =>
    index && number !== (heard[index - 1] % 20_000) + 1 ? [[index, heard[index - 1], number]] : []);
  return { first: heard[0], last: heard.at(-1), count: heard.length, holes: holes.slice(0, 5) };
}
"""


def part(view: Locator) -> Locator:
    return view.locator("[data-sse-part=audio]")


def ended(notebook: Notebook) -> dict[str, Any]:
    """What the file has of the second cell, once that has ended."""
    notebook.wait_idle()

    def saved() -> Any:
        (bundle,) = bundles(notebook.save(), 1)
        return bundle[MIME].get("snapshot")

    snapshot: dict[str, Any] = wait_for(saved, "the end to be saved")
    return snapshot


def test_sound_is_played_while_it_comes_without_a_sample_missing(
    context: BrowserContext, open_notebook: Any, page: Page, lab: JupyterServer
) -> None:
    pytest.importorskip("numpy")
    context.add_init_script(TAP)
    notebook: Notebook = open_notebook(GATE, SPEAK)
    notebook.run(0)
    view = notebook.run(1)
    sound = part(view)
    expect(sound).to_contain_text("Sound is coming.")
    assert page.evaluate("window.contexts.length") == 0  # nobody has asked for it
    sound.get_by_role("button", name="Play", exact=True).click()
    wait_for(lambda: page.evaluate("window.tapped.length") > 2400, "some of it to be heard")
    opened(notebook, "speak")
    wait_for(lambda: page.evaluate(HEARD)["count"] > 3 * 24_000, "most of it to be heard")
    sound.get_by_role("button", name="Pause").click()
    expect(sound.get_by_role("button", name="Go on")).to_be_visible()
    sound.get_by_role("button", name="Go on").click()
    wait_for(lambda: page.evaluate(HEARD)["last"] == 4 * 24_000 % 20_000, "the end to be heard")
    heard = page.evaluate(HEARD)
    assert (heard["holes"], heard["first"], heard["count"]) == ([], 1, 4 * 24_000)
    expect(sound).to_contain_text("0:04")

    # Again from its beginning in a page that has had nothing of it: from the log.
    page.reload()
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    sound.get_by_role("button", name="Play", exact=True).click()
    wait_for(lambda: page.evaluate(HEARD)["count"] > 24_000, "it to be heard again")
    heard = page.evaluate(HEARD)
    assert (heard["holes"], heard["first"]) == ([], 1)

    # At the end there is a file, once nobody listens to the chunks.
    opened(notebook, "spoken")
    status(view, "done")
    whole = view.locator("[data-sse-part=preview] audio")
    wait_for(lambda: whole.evaluate("audio => audio.duration") == 4, "the whole to be loaded")
    expect(sound).to_be_hidden()
    wait_for(lambda: page.evaluate("window.contexts.every(({ state }) => state === 'closed')"), "it to be silent")
    (preview,) = ended(notebook)["previews"]
    assert (preview["mime"], preview["key"], len(preview["data"]) > 4 * 48_000) == ("audio/wav", "audio", True)


# Opus in WebM, by the browser's own encoder: 2.5 s of a tone.
RECORD = """
async () => {
  const context = new AudioContext();
  const tone = context.createOscillator();
  const into = context.createMediaStreamDestination();
  tone.connect(into);
  tone.start();
  const recorder = new MediaRecorder(into.stream, { mimeType: "audio/webm;codecs=opus" });
  const chunks = [];
  recorder.ondataavailable = ({ data }) => chunks.push(data);
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start(100);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  recorder.stop();
  await stopped;
  await context.close();
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
"""
PLAYERS = """
window.players = [];
window.Audio = class extends Audio {
  constructor() {
    super();
    window.players.push(this);
  }
  pause() { // at its end too, when the element is emptied before it may have told its "ended"
    if (this.ended) this.over = this.buffered.length;
    super.pause();
  }
};
"""
COMPRESSED = """
from base64 import b64decode
raw = b64decode(Path("sound.txt").read_text())
with task("Speak") as t:
    for start in range(0, len(raw), 1000):
        t.audio(raw[start : start + 1000])
        if start == 3000:
            wait_for(f"more-{len(raw)}")
    wait_for(f"enough-{len(raw)}")
"""
SILENCE = b"\xff\xfb\x90\xc4" + bytes(413)
"""One frame of MP3: 1152 samples at 44 100 a second."""


@pytest.mark.parametrize("kind", ["audio/webm", "audio/mpeg"])
def test_compressed_sound_is_played_while_it_comes(
    kind: str, context: BrowserContext, open_notebook: Any, page: Page
) -> None:
    context.add_init_script(PLAYERS)
    notebook: Notebook = open_notebook(GATE, COMPRESSED)
    recorded = page.evaluate(RECORD) if kind == "audio/webm" else base64.b64encode(SILENCE * 96).decode()
    size = len(base64.b64decode(recorded))
    (notebook.path.parent / "sound.txt").write_text(recorded)
    notebook.run(0)
    view = notebook.run(1)
    sound = part(view)
    expect(sound).to_contain_text("Sound is coming.")
    sound.get_by_role("button", name="Play", exact=True).click()
    wait_for(lambda: page.evaluate("window.players.length") == 1, "a player")
    opened(notebook, f"more-{size}")
    played = page.evaluate_handle("window.players[0]")
    wait_for(lambda: played.evaluate("player => player.currentTime") > 2.2, "it to be heard")
    opened(notebook, f"enough-{size}")
    assert wait_for(lambda: played.evaluate("player => player.over"), "its end to be heard") == 1  # with no hole in it
    status(view, "done")
    whole = view.locator("[data-sse-part=preview] audio")
    wait_for(lambda: whole.evaluate("audio => audio.readyState >= 1"), "the whole to be loaded")
    (preview,) = ended(notebook)["previews"]
    assert (preview["mime"], preview["data"]) == (kind, recorded)


def test_a_type_that_the_browser_does_not_play_in_pieces_is_played_as_a_whole(open_notebook: Any) -> None:
    notebook: Notebook = open_notebook(
        GATE,
        """
with task("Speak") as t:
    t.audio(b"OggS" + bytes(1000))
    wait_for("ogg")
""",
    )
    notebook.run(0)
    view = notebook.run(1)
    sound = part(view)
    sound.get_by_role("button", name="Play", exact=True).click()
    expect(sound).to_contain_text("This browser cannot play audio/ogg while it comes. Its end may bring the whole.")
    expect(sound.get_by_role("button")).to_have_count(0)
    opened(notebook, "ogg")
    status(view, "done")
    expect(view.locator("[data-sse-part=preview]")).to_be_visible()
    expect(sound).to_be_hidden()


MODEL = """
import json, struct
def cube():
    points = [[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    faces = [0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1, 2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3]
    corners, triangles = struct.pack("<24f", *sum(points, [])), struct.pack("<36H", *faces)
    scene = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.9, 0.4, 0.1, 1], "metallicFactor": 0}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3", "min": [-0.5] * 3, "max": [0.5] * 3},
            {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(corners)},
            {"buffer": 0, "byteOffset": len(corners), "byteLength": len(triangles)},
        ],
        "buffers": [{"byteLength": len(corners) + len(triangles)}],
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    data = corners + triangles
    parts = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(parts)) + parts
with task("Model") as t:
    t.preview(cube(), key="model", alt="A cube مكعب")
    t.result = cube()
    wait_for("model")
"""
DRAWN = """
async (viewer) => {
  const image = new Image();
  image.src = viewer.toDataURL();
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const [red, green, blue, alpha] = context.getImageData(image.width / 2, image.height / 2, 1, 1).data;
  return alpha === 255 && red > blue + 40;
}
"""


def test_a_model_made_in_python_is_drawn_and_what_draws_it_comes_from_here(
    open_notebook: Any, page: Page, lab: JupyterServer
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    notebook: Notebook = open_notebook(GATE, MODEL)
    notebook.run(0)
    assert page.evaluate("customElements.get('model-viewer') === undefined")  # a megabyte that few need
    view = notebook.run(1)
    viewer = view.locator("[data-sse-part=preview] model-viewer")
    viewer.scroll_into_view_if_needed()  # it is not loaded before
    expect(view.locator("[data-sse-part=preview] [data-sse-model]")).to_have_attribute("data-sse-model", "shown")
    assert viewer.evaluate("viewer => viewer.loaded")
    wait_for(lambda: viewer.evaluate(DRAWN), "an orange cube to be drawn")
    expect(viewer).to_have_attribute("alt", "A cube مكعب")
    opened(notebook, "model")
    status(view, "done")
    result = view.locator("[data-sse-part=result] [data-sse-model]")
    result.scroll_into_view_if_needed()
    expect(result).to_have_attribute("data-sse-model", "shown")
    (preview,) = ended(notebook)["previews"]
    assert preview["mime"] == "model/gltf-binary"
    own = lab.root.split("/")[2]
    assert {url.split("/")[2] for url in asked if url.startswith("http")} == {own}

    # The monitor page has a policy of its own, and loads the same from the server.
    other = page.context.new_page()
    said: list[str] = []
    other.on("console", lambda message: said.append(message.text))
    (entry,) = streams(lab, notebook)
    other.goto(f"{lab.url}?token={lab.token}#/{entry['stream']}")
    there = other.locator("[data-sse-part=preview] [data-sse-model]")
    expect(there).to_have_attribute("data-sse-model", "shown")
    wait_for(lambda: there.locator("model-viewer").evaluate(DRAWN), "the cube on the monitor page")
    # Two of the element's own style attributes are refused there, which only costs looks.
    assert not [line for line in said if "Content Security Policy" in line and "inline style" not in line]


FILM = """
import numpy
generator = numpy.random.default_rng(1)
with task("Film") as t:
    for number in range(10_000):
        if Path("cut").exists():
            break
        t.preview(generator.random((90, 160, 3)), key="film", alt=f"frame {number}")
        time.sleep(0.05)
    t.preview(numpy.ones((90, 160)), key="film", alt="the last")
"""
WATCH = """
() => {
  window.seen = new Set();
  window.empty = 0;
  const look = () => {
    const image = document.querySelector("[data-sse-part=preview] img");
    if (image?.complete && image.naturalWidth === 160) window.seen.add(image.src);
    else window.empty += 1;
    requestAnimationFrame(look);
  };
  look();
}
"""


def test_a_film_of_frames_neither_flickers_nor_grows(open_notebook: Any, page: Page, lab: JupyterServer) -> None:
    pytest.importorskip("numpy")
    notebook: Notebook = open_notebook(GATE, FILM)
    notebook.run(0)
    view = notebook.run(1)
    image = view.locator("[data-sse-part=preview] img")
    wait_for(lambda: image.evaluate("image => image.naturalWidth") == 160, "the first frame")
    page.evaluate(WATCH)
    devtools = page.context.new_cdp_session(page)

    def used(frames: int) -> tuple[float, float]:
        """MiB of heap, and nodes, once so many frames have been seen."""
        wait_for(lambda: page.evaluate("window.seen.size") >= frames, f"{frames} frames")
        devtools.send("HeapProfiler.collectGarbage")
        devtools.send("Performance.enable")
        figures = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
        return figures["JSHeapUsedSize"] / (1 << 20), figures["Nodes"]

    heap, nodes = used(30)
    later_heap, later_nodes = used(150)
    assert page.evaluate("window.empty") == 0
    assert later_heap < heap + 4
    assert later_nodes < nodes + 300
    opened(notebook, "cut")
    status(view, "done")
    expect(view.locator("figcaption")).to_have_text("the last")
    (entry,) = streams(lab, notebook)
    assert entry["bytes"] < 6 << 20  # 150 frames have 43 KiB each; of the last ones some are kept


def test_the_notebook_of_media_from_top_to_bottom(page: Page, lab: JupyterServer) -> None:
    cells = json.loads((QUICKSTART.parent / "04_media.ipynb").read_text())["cells"]
    path = write_cells(lab, "04_media.ipynb", [(cell["cell_type"], "".join(cell["source"])) for cell in cells])
    notebook = Notebook(page, lab, path).open()
    at = {cell["id"]: index for index, cell in enumerate(cells)}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        view = notebook.run(at[cell["id"]])
        if cell["id"] in ("cell-5", "cell-13"):
            part(view).get_by_role("button", name="Play", exact=True).click()
            expect(part(view).get_by_role("button", name="Pause")).to_be_visible()
            expect(part(view)).to_contain_text("0:02")
        notebook.wait_idle()
        status(notebook.view(at[cell["id"]]), "done")
    shown = {
        cell: notebook.view(at[cell]).locator("[data-sse-part=preview]") for cell in ("cell-3", "cell-7", "cell-9")
    }
    for cell, width in (("cell-3", 640), ("cell-7", 320)):
        expect(shown[cell].locator("img")).to_have_js_property("naturalWidth", width)
    shown["cell-9"].scroll_into_view_if_needed()
    expect(shown["cell-9"].locator("[data-sse-model]")).to_have_attribute("data-sse-model", "shown")
    for cell, element, seconds in (("cell-5", "audio", 8.7), ("cell-13", "audio", 8.7), ("cell-15", "video", 5)):
        whole = notebook.view(at[cell]).locator(f"[data-sse-part=preview] {element}")
        whole.scroll_into_view_if_needed()
        wait_for(lambda: abs(whole.evaluate("media => media.duration || 0") - seconds) < 0.2, f"all of {cell}")  # noqa: B023
    expect(whole).to_have_js_property("videoWidth", 640)
    whole.focus()
    page.keyboard.press("ArrowUp")  # which JupyterLab would take to go to the cell above
    page.keyboard.press("ArrowDown")
    wait_for(lambda: whole.evaluate("video => video.volume") < 1, "the film to be less loud")
    [film] = [entry["stream"] for entry in streams(lab, notebook) if entry["title"] == "Film a plasma"]
    [preview] = lab.request("GET", f"streams/{film}").json()["previews"]
    assert (preview["mime"], preview.get("data")) == ("video/webm", None)
    kept = lab.request("GET", preview["url"].removeprefix("/jupyter-sse/"))
    assert kept.headers["Content-Type"] == "video/webm"


def test_without_a_server_the_kernel_sends_the_sound_itself(
    context: BrowserContext, page: Page, make_server: Any, tmp_path: Path
) -> None:
    pytest.importorskip("numpy")
    context.add_init_script(TAP)
    server = make_server(
        "--ServerApp.jpserver_extensions={'jupyter_sse': False}", app="jupyterlab", home=tmp_path / "lab"
    )
    notebook = Notebook(page, server, write_notebook(server, "comm.ipynb", GATE, SPEAK)).open()
    notebook.run(0)
    view = notebook.run(1)
    part(view).get_by_role("button", name="Play", exact=True).click()
    wait_for(lambda: page.evaluate("window.tapped.length") > 2400, "some of it to be heard")
    opened(notebook, "speak")
    wait_for(lambda: page.evaluate(HEARD)["last"] == 4 * 24_000 % 20_000, "the end to be heard")
    opened(notebook, "spoken")
    status(view, "done")
    whole = view.locator("[data-sse-part=preview] audio")
    wait_for(lambda: whole.evaluate("audio => audio.duration") == 4, "the whole to be loaded")
