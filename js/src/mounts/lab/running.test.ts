// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FakeStore } from "../../core/fakes";
import type { Entry } from "../../core/listing";
import type { Multiplex } from "../../core/multiplex";
import type { CancelAnswer } from "../../core/source";
import { Notifications } from "../../core/notifications";
import { RunningStreams } from "./running";

vi.mock("@jupyterlab/ui-components", () => ({
  LabIcon: class {
    name: string;
    constructor({ name }: { name: string }) {
      this.name = name;
    }
  },
}));

const NOW = 1_000_000;
const entry = (stream: string, more: Partial<Entry> = {}): Entry => ({
  stream, url: "", status: "running", kind: "task", title: `Title ${stream}`, path: "a.ipynb", cell: "c", execution: "e",
  kernel: "k", dismissed: false, seq: 1, bytes: 1, created: NOW - 75, updated: NOW, ...more,
});

class FakeListing {
  entries: Entry[] = [];
  state = "open";
  listeners = new Set<() => void>();
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  show(...entries: Entry[]): void {
    this.entries = entries;
    for (const listener of this.listeners) listener();
  }
}

let listing: FakeListing;
let sources: Record<string, FakeStore>;
let said: string[];
let visible: boolean;
let answers: { cancel: CancelAnswer["via"]; forget: boolean };
let streams: RunningStreams;

beforeEach(() => {
  vi.useFakeTimers({ now: NOW * 1000 });
  listing = new FakeListing();
  sources = {};
  said = [];
  visible = true;
  answers = { cancel: "producer", forget: true };
  const multiplex = {
    listing,
    source: (stream: string) => (sources[stream] ??= new FakeStore(stream)),
    cancel: (stream: string) => {
      said.push(`cancel ${stream}`);
      return Promise.resolve({ via: answers.cancel, message: "No way." });
    },
    forget: (stream: string) => {
      said.push(`forget ${stream}`);
      return Promise.resolve(answers.forget);
    },
  };
  streams = new RunningStreams(multiplex as unknown as Multiplex, {
    open: ({ stream }) => said.push(`open ${stream}`),
    isVisible: () => visible,
    onError: (message) => said.push(message),
  });
});

afterEach(() => {
  streams.dispose();
  vi.useRealTimers();
});

const rows = (): unknown[] => streams.running().map((item) => [item.label(), item.detail?.(), streams.shutdownLabel(item)]);

test("running streams come first, then the last that ended", () => {
  streams.ended = 2;
  listing.show(
    entry("s5", { status: "done", title: null, kind: "answer" }),
    entry("s4"),
    entry("s3", { status: "error" }),
    entry("s2", { status: "cancelled" }),
    entry("s1", { title: "", kind: null }),
  );
  expect(rows()).toEqual([
    ["Title s4", "1:15", "Cancel"],
    ["Stream", "1:15", "Cancel"],
    ["Answer", "Done · 1:15", "Forget"],
    ["Title s3", "Failed · 1:15", "Forget"],
  ]);
});

test("progress is followed while the panel is seen", () => {
  let drawn = 0;
  streams.runningChanged.connect(() => (drawn += 1));
  visible = false;
  listing.show(entry("s1"), entry("s2"));
  expect([Object.keys(sources), drawn]).toEqual([[], 1]);
  visible = true;
  vi.advanceTimersByTime(1000);
  sources["s1"]?.push(1, { type: "progress", bar: "main", n: 1 });
  sources["s1"]?.push(2, { type: "progress", bar: "inner", n: 1, total: 3 });
  sources["s2"]?.push(1, { type: "step", step: 2, of: 8, message: "Mixing" });
  expect(rows()).toEqual([
    ["Title s1", "33 % · 1:16", "Cancel"],
    ["Title s2", "[2/8] Mixing · 1:16", "Cancel"],
  ]);
  expect(streams.running()[1]?.labelTitle?.()).toBe("Title s2\n[2/8] Mixing · 1:16\na.ipynb"); // all of it, where the panel has no room
  listing.show(entry("s1", { status: "done" }), entry("s2"));
  expect(Object.values(sources).map(({ watchers }) => watchers)).toEqual([0, 1]);
  visible = false;
  vi.advanceTimersByTime(1000);
  expect(sources["s2"]?.watchers).toBe(0);
});

test("a stream is cancelled while it runs, forgotten when it has ended, and both may fail", async () => {
  listing.show(entry("s1"), entry("s2", { status: "done" }));
  const [first, second] = streams.running();
  first?.open?.();
  first?.shutdown?.();
  second?.shutdown?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(said).toEqual(["open s1", "cancel s1", "forget s2"]);
  answers = { cancel: "failed", forget: false };
  said = [];
  streams.shutdownAll();
  second?.shutdown?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(said).toEqual(["cancel s1", "forget s2", "No way.", "The stream could not be forgotten. Try again."]);
});

test("nothing is followed when the panel is gone", () => {
  listing.show(entry("s1"));
  streams.dispose();
  expect([sources["s1"]?.watchers, listing.listeners.size]).toEqual([0, 0]);
});

test("a long stream that ends in a hidden tab is told, once", () => {
  let hidden = true;
  const told: string[] = [];
  const notifier = new Notifications(listing as never, { isHidden: () => hidden, notify: ({ stream }) => told.push(stream) });
  const called = { kind: "endpoint" };
  listing.show(entry("old", { status: "done" }), entry("long"), entry("called", called), entry("short", { created: NOW - 59 }), entry("seen"), entry("off"));
  listing.show(entry("old", { status: "done" }), entry("long", { status: "error" }), entry("called", { ...called, status: "done" }), entry("short", { status: "done", created: NOW - 59 }), entry("seen"), entry("off"));
  expect(told).toEqual(["long"]);
  hidden = false;
  listing.show(entry("long", { status: "error" }), entry("seen", { status: "done" }), entry("off"));
  hidden = true;
  notifier.enabled = false;
  listing.show(entry("off", { status: "done" }), entry("later"));
  notifier.enabled = true;
  notifier.afterSeconds = 0;
  notifier.dispose();
  listing.show(entry("later", { status: "done" }));
  expect(told).toEqual(["long"]);
});

test("a stream without news is shown, and told once where that is wanted", () => {
  const told: string[] = [];
  const notifier = new Notifications(listing as never, { isHidden: () => true, notify: ({ stream }) => told.push(stream) });
  listing.show(entry("s1"), entry("s2", { stalled: NOW - 200 }));
  expect(rows()).toEqual([
    ["Title s1", "1:15", "Cancel"],
    ["Title s2", "no news for 3 min · 1:15", "Cancel"],
  ]);
  listing.show(entry("s1", { stalled: NOW - 130 }));
  expect(told).toEqual([]);
  notifier.stalled = true;
  listing.show(entry("s1", { stalled: NOW - 120 }), entry("s2"));
  listing.show(entry("s1", { stalled: NOW - 120 }), entry("s2"));
  listing.show(entry("s1"), entry("s2"));
  listing.show(entry("s1", { stalled: NOW - 121 }), entry("s2"));
  expect(told).toEqual(["s1", "s1"]);
  notifier.dispose();
});
