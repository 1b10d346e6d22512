import { readFileSync } from "node:fs";
import { createParser } from "eventsource-parser";
import { describe, expect, test } from "vitest";
import type { Snapshot, StreamEvent } from "./events";
import { emptySnapshot, fold, type NumberedEvent } from "./state";

interface Vector {
  name: string;
  events: [number, StreamEvent][];
  frames: string[];
  snapshot: Snapshot;
}

const vectors = JSON.parse(
  readFileSync(new URL("../../../tests/wire/vectors.json", import.meta.url), "utf-8"),
) as Vector[];

describe.each(vectors)("$name", ({ name, events, frames, snapshot }) => {
  test("the frames hold the events", () => {
    const seen: [number, unknown][] = [];
    const parser = createParser({
      onEvent: ({ event, id, data }) => {
        const parsed = JSON.parse(data) as StreamEvent;
        expect(parsed.type).toBe(event);
        seen.push([Number(id), parsed]);
      },
    });
    parser.feed(frames.join(""));
    expect(seen).toEqual(events);
  });

  test("the events come to the snapshot, in any portions", () => {
    expect(fold(emptySnapshot(name), events)).toEqual(snapshot);
    for (let size = 1; size < 6; size += 1) {
      let state = emptySnapshot(name);
      for (let at = 0; at < events.length; at += size) {
        const before = structuredClone(state);
        const next = fold(state, events.slice(at, at + size) as NumberedEvent[]);
        expect(state).toEqual(before);
        state = next;
      }
      expect(state).toEqual(snapshot);
    }
  });
});

test("a field that is null is as one that is left out", () => {
  const bars = fold(emptySnapshot("s"), [
    [1, { type: "progress", bar: "b", n: 1, total: 9, unit: "it" }],
    [2, { type: "progress", bar: "b", n: 2, total: null, unit: null, rate: null } as never],
  ]).bars;
  expect(bars).toEqual([{ type: "progress", bar: "b", n: 2, total: 9, unit: "it" }]);
});
