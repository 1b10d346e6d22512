// The reducer: what a stream looks like after its events so far. Pure; the pair of jupyter_sse/state.py, and
// pinned with it by the vectors in tests/wire.

import {
  LOG_LINES,
  PREVIEWS,
  STEPS,
  type ConnectionEvent,
  type LogEvent,
  type PreviewEvent,
  type ProgressEvent,
  type Snapshot,
  type StreamEvent,
  type ToolEvent,
  type UnknownEvent,
} from "./events";

export type NumberedEvent = readonly [seq: number, event: StreamEvent | ConnectionEvent | UnknownEvent];

export function emptySnapshot(stream: string): Snapshot {
  return {
    stream,
    seq: 0,
    status: "running",
    kind: null,
    title: null,
    model: null,
    total: null,
    unit: null,
    cancellable: false,
    stall: null,
    origin: null,
    text: "",
    reasoning: "",
    bars: [],
    steps: [],
    log: { lines: [], count: 0 },
    previews: [],
    audio: null,
    tools: [],
    usage: null,
    reason: null,
    via: null,
    result: null,
    error: null,
    started: null,
    updated: null,
    ended: null,
  };
}

/** The snapshot after these events; the one given is left as it is. Events that it already holds, and events after a terminal one, change nothing. */
export function fold(snapshot: Snapshot, events: Iterable<NumberedEvent>): Snapshot {
  const next: Snapshot = {
    ...snapshot,
    bars: [...snapshot.bars],
    steps: [...snapshot.steps],
    log: { lines: [...snapshot.log.lines], count: snapshot.log.count },
    previews: [...snapshot.previews],
    tools: [...snapshot.tools],
  };
  for (const [seq, event] of events) {
    if (seq <= next.seq || next.status !== "running") continue;
    next.seq = seq;
    const known = withoutNulls(event as StreamEvent);
    if (apply(next, known) && known.ts !== undefined) next.updated = known.ts;
  }
  return next;
}

/** A field that is null says no more than one that is left out. */
function withoutNulls(event: StreamEvent): StreamEvent {
  const values = Object.entries(event);
  return values.some(([, value]) => value === null)
    ? (Object.fromEntries(values.filter(([, value]) => value !== null)) as unknown as StreamEvent)
    : event;
}

/** False for a type this version does not know. */
function apply(next: Snapshot, event: StreamEvent): boolean {
  switch (event.type) {
    case "delta":
      next.text += event.text;
      return true;
    case "reasoning":
      next.reasoning += event.text;
      return true;
    case "progress":
      setBar(next.bars, event);
      return true;
    case "log":
      addLines(next.log, event);
      return true;
    case "step":
      next.steps.push(event);
      keepLast(next.steps, STEPS);
      return true;
    case "preview":
      put<PreviewEvent>(next.previews, event, (old) => event.key !== undefined && old.key === event.key);
      keepLast(next.previews, PREVIEWS);
      return true;
    case "tool":
      setTool(next.tools, event);
      return true;
    case "usage":
      next.usage = event;
      return true;
    case "audio":
      next.audio = { mime: event.mime, first: next.audio?.first ?? next.seq, last: next.seq, count: (next.audio?.count ?? 0) + 1 };
      return true;
    case "start":
      next.kind = event.kind;
      next.title = event.title ?? null;
      next.model = event.model ?? null;
      next.total = event.total ?? null;
      next.unit = event.unit ?? null;
      next.cancellable = event.cancellable;
      next.stall = event.stall ?? null;
      next.origin = event.origin ?? null;
      next.started = event.ts ?? null;
      return true;
    case "done":
      next.status = event.reason === "cancelled" ? "cancelled" : "done";
      next.reason = event.reason;
      next.via = event.via ?? null;
      next.result = event.result ?? null;
      next.ended = event.ts ?? null;
      return true;
    case "error":
      next.status = "error";
      next.error = event;
      next.ended = event.ts ?? null;
      return true;
    default:
      return false;
  }
}

function keepLast(items: unknown[], count: number): void {
  if (items.length > count) items.splice(0, items.length - count);
}

/** Put the item where one that is the `same` stands, else last. */
function put<T>(items: T[], item: T, same: (old: T) => boolean): void {
  const index = items.findIndex(same);
  if (index < 0) items.push(item);
  else items[index] = item;
}

function addLines(log: Snapshot["log"], event: LogEvent): void {
  if (event.key !== undefined) {
    const known = log.lines.length;
    put(log.lines, event, (old) => old.key === event.key);
    log.count += log.lines.length - known;
    keepLast(log.lines, LOG_LINES);
    return;
  }
  const lines = event.text.replace(/\n$/, "").split("\n");
  log.count += lines.length;
  for (const text of lines.slice(-LOG_LINES)) log.lines.push(text === event.text ? event : { ...event, text });
  keepLast(log.lines, LOG_LINES);
}

/** A bar's total, unit and parent last until they are set anew; everything else is replaced. */
function setBar(bars: ProgressEvent[], event: ProgressEvent): void {
  if (event.state === "removed") {
    const index = bars.findIndex((bar) => bar.bar === event.bar);
    if (index >= 0) bars.splice(index, 1);
    return;
  }
  const old = bars.find((bar) => bar.bar === event.bar);
  const bar = { ...event };
  if (old) {
    if (bar.total === undefined && old.total !== undefined) bar.total = old.total;
    if (bar.unit === undefined && old.unit !== undefined) bar.unit = old.unit;
    if (bar.parent === undefined && old.parent !== undefined) bar.parent = old.parent;
  }
  put(bars, bar, (other) => other.bar === event.bar);
}

/** A result joins its call, whose arguments it keeps. */
function setTool(tools: ToolEvent[], event: ToolEvent): void {
  const old = tools.find((tool) => tool.id === event.id);
  const tool = { ...event };
  if (old && tool.args === undefined && old.args !== undefined) tool.args = old.args;
  put(tools, tool, (other) => other.id === event.id);
}
