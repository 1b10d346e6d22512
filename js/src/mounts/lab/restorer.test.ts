import { beforeEach, expect, test } from "vitest";
import { FakeStore } from "../../core/fakes";
import type { Snapshot } from "../../core/events";
import type { Entry } from "../../core/listing";
import { emptySnapshot } from "../../core/state";
import { MIME } from "./output";
import { Restorer, type Cell, type DisplayData, type OutputsChange, type Server, type Signal } from "./restorer";

type Data = Record<string, unknown>;

class Fire<T> implements Signal<T> {
  #slots: ((sender: unknown, change: T) => void)[] = [];
  connect(slot: (sender: unknown, change: T) => void): void {
    this.#slots.push(slot);
  }
  emit(change: T): void {
    for (const slot of this.#slots) slot(this, change);
  }
}

class FakeOutputs {
  changed = new Fire<OutputsChange>();
  items: { data: Data }[] = [];
  get length(): number {
    return this.items.length;
  }
  get(index: number): { data: Data } {
    return this.items[index] as { data: Data };
  }
  add({ data }: DisplayData): void {
    this.items.push({ data });
    this.changed.emit({ type: "add", newValues: this.items.slice(-1), oldValues: [] });
  }
  set(index: number, { data }: DisplayData): void {
    const oldValues = this.items.splice(index, 1, { data });
    this.changed.emit({ type: "set", newValues: [this.get(index)], oldValues });
  }
  clear(): void {
    const oldValues = this.items.splice(0);
    this.changed.emit({ type: "clear", newValues: [], oldValues });
  }
}

class FakeServer implements Server {
  outputs: Record<string, Data | null> = {};
  dismissed: string[] = [];
  sources: Record<string, FakeStore> = {};
  elsewhere = false;
  output(stream: string): Promise<Data | null> {
    return Promise.resolve(stream in this.outputs ? (this.outputs[stream] ?? null) : live(stream));
  }
  dismiss(stream: string): void {
    this.dismissed.push(stream);
  }
  source(stream: string): FakeStore {
    return (this.sources[stream] ??= new FakeStore(stream));
  }
  isOpenElsewhere(): Promise<boolean> {
    return Promise.resolve(this.elsewhere);
  }
}

const live = (stream: string): Data => ({ [MIME]: { stream, v: 1 }, "text/plain": "running" });
const snapshot = (stream: string): Snapshot => ({ ...emptySnapshot(stream), seq: 3, status: "done" });
const ended = (stream: string): Data => ({ [MIME]: { stream, v: 1, snapshot: snapshot(stream) } });
const text = (text: string): Data => ({ "text/plain": text });
const NOW = 1000;
const entry = (stream: string, more: Partial<Entry> = {}): Entry => ({
  stream, url: "", status: "running", kind: "task", title: null, path: "a.ipynb", cell: "a", execution: "e1", kernel: "k",
  dismissed: false, seq: 1, bytes: 1, created: NOW, updated: NOW, ...more,
});

let server: FakeServer;
let notebook: { cells: Cell[] & { changed: Fire<unknown> }; contentChanged: Fire<unknown>; isDisposed: boolean; dirty: boolean };
let outputs: Record<string, FakeOutputs>;

function open(cells: Record<string, Data[]>): Restorer {
  outputs = {};
  notebook = {
    cells: Object.assign([], { changed: new Fire<unknown>() }),
    contentChanged: new Fire<unknown>(),
    isDisposed: false,
    dirty: false,
  };
  for (const [id, data] of Object.entries(cells)) {
    const own = (outputs[id] = new FakeOutputs());
    own.items = data.map((data) => ({ data }));
    own.changed.connect(() => {
      notebook.dirty = true;
      notebook.contentChanged.emit(null);
    });
    notebook.cells.push({ id, outputs: own, executionCount: 5 });
  }
  notebook.cells.push({ id: "markdown" });
  return new Restorer(notebook, server);
}

const shown = (id: string): unknown[] =>
  outputs[id]?.items.map(({ data }) => (data[MIME] as { stream: string } | undefined)?.stream ?? data["text/plain"]) ?? [];
const settled = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, 0));

beforeEach(() => {
  server = new FakeServer();
});

test("lost streams go back into their cells, in order and once", async () => {
  const restorer = open({ a: [], b: [] });
  server.outputs["s1"] = ended("s1");
  const entries = [entry("s3", { cell: "b" }), entry("s2"), entry("s1", { status: "done" }), entry("x", { cell: "none" })];
  await restorer.restore([...entries, entry("y", { cell: "markdown" }), entry("z", { cell: null })], NOW - 1);
  await restorer.restore(entries, NOW - 1);
  expect([shown("a"), shown("b"), notebook.dirty]).toEqual([["s1", "s2"], ["s3"], true]);
  expect(server.dismissed).toEqual([]);
});

test("what the notebook has, had when it was saved, or was taken out, is left as it is", async () => {
  const restorer = open({ a: [live("s1")], b: [] });
  await restorer.restore(
    [
      entry("s1"),
      entry("s2", { cell: "b", status: "done", updated: NOW }),
      entry("s3", { cell: "b", dismissed: true }),
    ],
    NOW,
  );
  expect([shown("a"), shown("b"), notebook.dirty]).toEqual([["s1"], [], false]);
});

test("of a cell's runs only the last one counts", async () => {
  const restorer = open({ a: [], b: [] });
  await restorer.restore(
    [entry("s4", { execution: "e2" }), entry("s3"), entry("s2", { cell: "b", execution: "e4", dismissed: true }), entry("s1", { cell: "b" })],
    0,
  );
  expect([shown("a"), shown("b")]).toEqual([["s4"], []]);
});

test.each([
  { name: "of the same run stay", before: [text("hello"), live("s1")], after: ["hello", "s1", "s2"] },
  { name: "of a run before go", before: [text("hello"), live("s0")], after: ["s2"] },
  { name: "of which nothing is known stay", before: [text("hello")], after: ["hello", "s2"] },
])("outputs $name", async ({ before, after }) => {
  const restorer = open({ a: before });
  await restorer.restore([entry("s2", { execution: "e2" }), entry("s1", { execution: "e2", dismissed: true }), entry("s0")], 0);
  expect(shown("a")).toEqual(after);
  expect(notebook.cells[0]).toHaveProperty("executionCount", after[0] === "hello" ? 5 : null);
});

test("a cell that is run while the server is asked is not touched", async () => {
  const restorer = open({ a: [text("old")], b: [] });
  const done = restorer.restore([entry("s2", { cell: "b" }), entry("s1")], 0);
  outputs["a"]?.clear();
  await done;
  expect([shown("a"), shown("b")]).toEqual([[], ["s2"]]);
});

test("a stream that is gone meanwhile is no output", async () => {
  const restorer = open({ a: [text("old")] });
  server.outputs["s1"] = null;
  await restorer.restore([entry("s1")], 0);
  expect([shown("a"), notebook.dirty]).toEqual([["old"], false]);
});

test("an output that goes is told to the server, one that is updated or grows is not", () => {
  open({ a: [live("s1"), live("s2")] });
  const own = outputs["a"] as FakeOutputs;
  own.set(0, { output_type: "display_data", data: ended("s1"), metadata: {} });
  own.changed.emit({ type: "set", newValues: [own.get(1)], oldValues: [own.get(1)] });
  expect(server.dismissed).toEqual([]);
  own.set(1, { output_type: "display_data", data: text("other"), metadata: {} });
  expect(server.dismissed).toEqual(["s2"]);
  own.add({ output_type: "display_data", data: live("s3"), metadata: {} });
  own.clear();
  expect(server.dismissed).toEqual(["s2", "s1", "s3"]);
});

test("a cell that comes later is watched too", () => {
  open({});
  const own = (outputs["new"] = new FakeOutputs());
  notebook.cells.push({ id: "new", outputs: own, executionCount: 5 });
  notebook.cells.changed.emit(null);
  own.add({ output_type: "display_data", data: live("s1"), metadata: {} });
  own.clear();
  expect(server.dismissed).toEqual(["s1"]);
});

test.each([false, true])("the end of a run that no kernel tells is put in (another page is open: %j)", async (elsewhere) => {
  const restorer = open({ a: [text("hello"), live("s1")], b: [] });
  server.elsewhere = elsewhere;
  await restorer.restore([entry("s2", { cell: "b" })], 0);
  expect(notebook.dirty).toBe(!elsewhere);
  notebook.dirty = false;
  for (const stream of ["s1", "s2"]) {
    server.outputs[stream] = ended(stream);
    server.sources[stream]?.reset(snapshot(stream));
  }
  await settled();
  await settled();
  expect([outputs["a"]?.items, outputs["b"]?.items]).toEqual([[{ data: text("hello") }, { data: ended("s1") }], [{ data: ended("s2") }]]);
  expect(notebook.dirty).toBe(!elsewhere);
  expect(Object.values(server.sources).map(({ watchers }) => watchers)).toEqual([0, 0]);
});

test("another's change is saved, whoever has the notebook open", async () => {
  const restorer = open({ a: [] });
  server.isOpenElsewhere = async () => {
    await settled();
    notebook.contentChanged.emit(null);
    return true;
  };
  await restorer.restore([entry("s1")], 0);
  expect(notebook.dirty).toBe(true);
});

test("a run that the kernel itself shows is its own business, and nothing is left when the notebook is closed", async () => {
  const restorer = open({ a: [live("s1")] });
  outputs["a"]?.add({ output_type: "display_data", data: live("s2"), metadata: {} });
  expect(Object.keys(server.sources)).toEqual(["s1"]);
  restorer.dispose();
  expect(server.sources["s1"]?.watchers).toBe(0);
});

test("what a cell prints in a page that is gone, its stream shows here", () => {
  const slim = (more: object = {}): Data => ({ [MIME]: { stream: "s1", v: 1, slim: true, ...more }, "text/plain": "running" });
  open({ a: [slim()], b: [slim({ snapshot: snapshot("s1") })] });
  expect(outputs["a"]?.items[0]?.data).toEqual({ [MIME]: { stream: "s1", v: 1 }, "text/plain": "running" });
  expect(outputs["b"]?.items[0]?.data).toEqual(slim({ snapshot: snapshot("s1") }));
});
