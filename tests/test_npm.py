"""What npm gets: the package packed, installed into an empty folder, run by Node, type-checked and bundled."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from harness import JupyterServer
from npm import JS, install, node, npm

import jupyter_sse

PACKAGE = json.loads((JS / "package.json").read_text(encoding="utf-8"))
ENTRIES = {"jupyter-sse", "jupyter-sse/core", "jupyter-sse/react", "jupyter-sse/vue"}
CORE = [
    "AudioStreamConsumer", "CONNECTION_TYPES", "EVENT_TYPES", "LOG_LINES", "PREVIEWS", "SSEConsumer", "STEPS",
    "SocketConsumer", "TERMINAL_TYPES", "URLSource", "emptySnapshot", "fold", "statusOf",
]  # fmt: skip
QUIET = ("--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")

pytestmark = pytest.mark.timeout(600)

READ = """
import { SSEConsumer, emptySnapshot, fold } from "jupyter-sse/core";

const [url, token] = process.argv.slice(2);
let snapshot = emptySnapshot("");
await new SSEConsumer(url, {
  headers: { Authorization: `token ${token}` },
  onEvent: (event, id) => (snapshot = id ? fold(snapshot, [[Number(id), event]]) : snapshot),
  onError: (problem) => console.error(problem),
}).connect();
console.log(JSON.stringify(snapshot));
"""
NAMES = """
for (const name of process.argv.slice(2)) console.log(name, ...Object.keys(await import(name)).sort());
"""
# What a user would write; each line marked as an error must be one, or the types are lost on the way.
USED = """
import { AdaptiveTypewriter, AudioPlayer, AudioStreamConsumer, SSEConsumer, URLSource, mount } from "jupyter-sse";
import { type AudioChunk } from "jupyter-sse";
import { fold, emptySnapshot, type DeltaEvent, type Snapshot, type StreamSource } from "jupyter-sse/core";

const typewriter = new AdaptiveTypewriter(document.body, { baseDelayMs: 8, charsPerStep: 4 });
const consumer = new SSEConsumer("/x", {
  maxReconnects: 5,
  signal: AbortSignal.timeout(1000),
  onDelta: ({ text }) => typewriter.append(text),
  onProgress: ({ bar, pct }) => console.log(bar.length, pct?.toFixed()),
  onMessage: ({ type, data, lastEventId }) => console.log(type, data, lastEventId),
  onError: ({ message, status }) => console.log(message, status?.toFixed()),
});
void consumer.connect();
const player = new AudioPlayer(() => console.log(player.state, player.time + player.ahead, player.problem));
const onChunk = ({ n, mime, data }: AudioChunk) => player.append(mime, data, n);
new AudioStreamConsumer("/x", { onChunk, onComplete: () => player.end() });
const source: StreamSource = new URLSource("/x", { credentials: "include" });
const dispose: () => void = mount(document.body, { source });
const delta: DeltaEvent = { type: "delta", text: "a" };
const snapshot: Snapshot = fold(emptySnapshot("x"), [[1, delta]]);
dispose();
// @ts-expect-error
snapshot.nothing;
// @ts-expect-error
new SSEConsumer("/x", { onDelta: (event) => event.n });
// @ts-expect-error
mount(document.body, { source: "/x" });
"""
SOCKET = """
import { SocketConsumer } from "jupyter-sse/core";

const [root, stream, token] = process.argv.slice(2);
let [after, text] = [0, ""];
await new SocketConsumer(`${root}socket?${new URLSearchParams({ token })}`, {
  body: () => JSON.stringify({ streams: { [stream]: after } }),
  onEvent: (event, id) => id && (after = Number(id.split(":")[1])),
  onDelta: (event) => (text += event.text),
  onError: (problem) => console.error(problem),
}).connect();
console.log(JSON.stringify([text, after]));
"""
IN_NODE = """
import { SSEConsumer, emptySnapshot, fold } from "jupyter-sse/core";

let snapshot = emptySnapshot("x");
await new SSEConsumer("https://x.example/x", {
  credentials: "include",
  onEvent: (event, id) => id && (snapshot = fold(snapshot, [[Number(id), event]])),
}).connect();
"""
HOOKS = """
import { useStream as useReact, type UseStreamOptions } from "jupyter-sse/react";
import { useStream as useVue } from "jupyter-sse/vue";
import { ref } from "vue";

export function Answer({ url }: { url: string | null }) {
  const options: UseStreamOptions = { onComplete: ({ reason }) => reason.length };
  const { text, status, problem, snapshot, cancel, retry } = useReact(url, options);
  if (problem) return <button onClick={retry}>{problem.message}</button>;
  return <p onClick={() => void cancel()}>{snapshot.title} {status} {text}</p>;
}
export function useAnswer() {
  const { text, status, problem } = useVue(ref("/x"));
  const none = useVue(() => null, {});
  return [text.value.length, status.value === "running", problem.value?.code, none.snapshot.value.seq];
}
// @ts-expect-error
useReact(1);
// @ts-expect-error
useVue("/x").text.value.nothing;
"""
BUNDLE = """
const [esbuild, entry, ...external] = process.argv.slice(2);
const options = { bundle: true, write: false, metafile: true, format: "esm", jsx: "automatic", outdir: "out" };
const { metafile } = await (await import(esbuild)).build({ entryPoints: [entry], external, ...options });
console.log(JSON.stringify(Object.keys(metafile.inputs)));
"""


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    install()
    folder = tmp_path_factory.mktemp("packed")
    npm("pack", "--loglevel=error", f"--pack-destination={folder}")
    return folder / f"jupyter-sse-{PACKAGE['version']}.tgz"


@pytest.fixture(scope="module")
def user(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has installed the package, and nothing else."""
    folder = tmp_path_factory.mktemp("user")
    files = {"read.mjs": READ, "socket.mjs": SOCKET, "names.mjs": NAMES, "bundle.mjs": BUNDLE}
    files |= {"used.ts": USED, "node.ts": IN_NODE, "hooks.tsx": HOOKS}
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
    npm("--prefix", str(folder), "install", *QUIET, str(tarball))
    return folder


def run(folder: Path, *arguments: str) -> str:
    """What Node prints."""
    command = [node(), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


def check_types(folder: Path, file: str, resolution: str, *more: str) -> None:
    module = ["esnext", "--moduleResolution", "bundler"] if resolution == "bundler" else ["nodenext"]
    options = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2023,dom,dom.iterable", "--jsx", "react-jsx"]
    run(folder, str(JS / "node_modules" / "typescript" / "bin" / "tsc"), *options, "--module", *module, *more, file)


def test_it_has_what_its_users_need_and_no_more(tarball: Path) -> None:
    with tarfile.open(tarball) as tar:
        names = {name.removeprefix("package/") for name in tar.getnames()}
    assert {"package.json", "README.md", "LICENSE"} <= names
    rest = {name for name in names if not name.startswith("dist/")}
    assert rest == {"package.json", "README.md", "LICENSE"}
    assert not [name for name in names if re.search(r"test|fakes|mounts|lab|\.map$", name)]
    assert not [name for name in names if re.search(r"chat|monitor|multiplex", name)], "nobody can import these"
    sources = {name for name in names if name.endswith(".js")}
    typed = {name.removesuffix(".js") + ".d.ts" for name in sources if not name.endswith(".css.js")}
    assert typed <= names
    exported = PACKAGE["exports"]
    assert set(exported) - {"./package.json"} == {name.replace("jupyter-sse", ".") for name in ENTRIES}
    for entry in exported.values():
        for file in entry.values() if isinstance(entry, dict) else [entry]:
            assert file.removeprefix("./") in names
    assert PACKAGE["version"] == jupyter_sse.__version__


def test_it_brings_little_with_it(user: Path) -> None:
    lock = json.loads((user / "package-lock.json").read_text())
    installed = {path.removeprefix("node_modules/") for path in lock["packages"] if path}
    assert {"jupyter-sse", "eventsource-parser", "markdown-it"} <= installed
    # markdown-it's own are the only others; React and Vue are for those who have them.
    markdown = lock["packages"]["node_modules/markdown-it"]["dependencies"]
    assert installed <= {"jupyter-sse", "eventsource-parser", "markdown-it", "uc.micro", *markdown}


def test_the_public_names(user: Path) -> None:
    lines = run(user, "names.mjs", "jupyter-sse", "jupyter-sse/core").split("\n")
    assert lines[0].split() == ["jupyter-sse", *sorted([*CORE, "AdaptiveTypewriter", "AudioPlayer", "mount"])]
    assert lines[1].split() == ["jupyter-sse/core", *CORE]


def test_node_reads_a_stream_with_the_core_and_its_one_dependency(user: Path, server: JupyterServer) -> None:
    stream = server.create(title="من Node")
    server.append(
        stream,
        '{"type":"delta","text":"مرحبا "}',
        '{"type":"delta","text":"👩‍👩‍👧‍👦"}',
        '{"type":"done","reason":"stop"}',
    )
    modules = user / "node_modules"
    (modules / "markdown-it").rename(modules / "away")
    try:
        snapshot = json.loads(run(user, "read.mjs", f"{server.url}streams/{stream}/events", server.token))
    finally:
        (modules / "away").rename(modules / "markdown-it")
    assert (snapshot["text"], snapshot["status"], snapshot["title"]) == ("مرحبا 👩‍👩‍👧‍👦", "done", "من Node")


def test_node_reads_a_stream_over_a_websocket(user: Path, server: JupyterServer) -> None:
    stream = server.create(title="WebSocket")
    server.append(stream, '{"type":"delta","text":"مرحبا"}', '{"type":"done","reason":"stop"}')
    assert json.loads(run(user, "socket.mjs", server.url, stream, server.token)) == ["مرحبا", 3]


@pytest.mark.parametrize("resolution", ["bundler", "node"])
def test_its_types_are_there(user: Path, resolution: str) -> None:
    check_types(user, "used.ts", resolution)


def test_the_types_of_its_core_are_those_of_node_too(user: Path) -> None:
    types = ("--lib", "es2023", "--types", "node", "--typeRoots", str(JS / "node_modules" / "@types"))
    check_types(user, "node.ts", "node", *types)


@pytest.fixture(scope="module")
def component_user(user: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has React and Vue besides."""
    folder = tmp_path_factory.mktemp("components") / "user"
    shutil.copytree(user, folder, symlinks=True)
    wanted = [f"{name}@{PACKAGE['devDependencies'][name]}" for name in ("react", "@types/react", "vue")]
    npm("--prefix", str(folder), "install", *QUIET, *wanted)
    return folder


@pytest.mark.parametrize("resolution", ["bundler", "node"])
def test_the_types_of_its_hooks_are_there(component_user: Path, resolution: str) -> None:
    check_types(component_user, "hooks.tsx", resolution)


def test_a_bundle_has_only_what_is_used(component_user: Path) -> None:
    esbuild = str(JS / "node_modules" / "esbuild" / "lib" / "main.js")
    inputs = json.loads(run(component_user, "bundle.mjs", esbuild, "./hooks.tsx", "react", "react/jsx-runtime", "vue"))
    ours = {path.rpartition("jupyter-sse/dist/")[2] for path in inputs if "jupyter-sse/dist/" in path}
    assert {"npm/react.js", "npm/vue.js", "core/urlsource.js"} <= ours
    assert not [path for path in ours if path.startswith("view/")]
    assert not [path for path in inputs if "markdown-it" in path]


@pytest.mark.usefixtures("tarball")
def test_the_sizes_are_within_their_limits() -> None:
    printed = run(JS, "sizes.mjs")
    assert len(re.findall(r"^import .+: [\d.]+ KB gzipped \(limit \d+\)$", printed, re.MULTILINE)) == 5, printed
