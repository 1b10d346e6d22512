// Generated from jupyter_sse/events.py and state.py by generate_events.py. Do not edit.

/** Where a stream was started: the notebook's path, the cell, the execute request, the kernel. */
export interface Origin {
  path?: string;
  cell?: string;
  execution?: string;
  kernel?: string;
  thread?: string;
}

/** First frame of every connection. `stream` is None on a multiplexed one, which has a `connection` id. */
export interface HelloEvent {
  type: "hello";
  ts: number;
  stream: string | null;
  v: number;
  model?: string;
  connection?: string;
  notice?: string;
}

/** The producer began. `total` is in `unit`s. */
export interface StartEvent {
  type: "start";
  ts?: number;
  title?: string;
  kind: string;
  status: string;
  total?: number;
  unit?: string;
  cancellable: boolean;
  origin?: Origin;
  model?: string;
  stall?: number;
}

/** A piece of the answer. */
export interface DeltaEvent {
  type: "delta";
  ts?: number;
  text: string;
}

/** A piece of the model's thinking. */
export interface ReasoningEvent {
  type: "reasoning";
  ts?: number;
  text: string;
}

/** A tool call, and later its result under the same id. */
export interface ToolEvent {
  type: "tool";
  ts?: number;
  id: string;
  name: string;
  phase: "call" | "result";
  args?: unknown;
  result?: unknown;
}

/** One bar's state. `pct` 0 to 100; `rate` in units a second; `eta` in seconds; `parent` is another bar's name. */
export interface ProgressEvent {
  type: "progress";
  ts?: number;
  bar: string;
  n: number;
  total?: number;
  pct?: number;
  message?: string;
  rate?: number;
  eta?: number;
  unit?: string;
  parent?: string;
  label?: string;
  scale?: number;
  state?: "complete" | "early" | "removed";
}

/** A named step, counted from 1. */
export interface StepEvent {
  type: "step";
  ts?: number;
  step: number;
  of?: number;
  message: string;
}

/** Output: one line, or several separated by line feeds. It may have a terminal's colours (SGR escape sequences). */
export interface LogEvent {
  type: "log";
  ts?: number;
  text: string;
  level?: string;
  source: string;
  key?: string;
}

/** An image, sound, video or model, by `url` or as base64 `data`; the same `key` replaces. */
export interface PreviewEvent {
  type: "preview";
  ts?: number;
  mime: string;
  url?: string;
  data?: string;
  alt?: string;
  key?: string;
}

/** A chunk of sound (base64), played in the order of `n`, from 0. */
export interface AudioEvent {
  type: "audio";
  ts?: number;
  mime: string;
  data: string;
  n: number;
}

/** What the stream has cost up to now. `cost` in US dollars. */
export interface UsageEvent {
  type: "usage";
  ts?: number;
  input_tokens: number;
  output_tokens: number;
  cost?: number;
}

/** Terminal: the stream ended as meant. */
export interface DoneEvent {
  type: "done";
  ts?: number;
  reason: "cancelled" | "closed" | "length" | "stop" | "timeout";
  result?: unknown;
  via?: "interrupt" | "producer";
}

/** Terminal: the stream failed. `code` is for programs, `message` for people; `retry_after` in seconds. */
export interface ErrorEvent {
  type: "error";
  ts?: number;
  message: string;
  code: string;
  retryable: boolean;
  retry_after?: number;
  traceback?: string;
}

/** Start again from this snapshot, which holds all events up to `seq`; the last of them came at `ts`. */
export interface ResetEvent {
  type: "reset";
  ts?: number;
  reason: string;
  snapshot: unknown;
  seq: number;
}

/** Heartbeat, and what those who watch should know of the server now. */
export interface PingEvent {
  type: "ping";
  ts: number;
  notice?: string;
}

/** An event of a type this version does not know: passed on, ignored by views. */
export interface UnknownEvent {
  type: string & {};
  [field: string]: unknown;
}

/** What a stream is made of. */
export type StreamEvent = StartEvent | DeltaEvent | ReasoningEvent | ToolEvent | ProgressEvent | StepEvent | LogEvent | PreviewEvent | AudioEvent | UsageEvent | DoneEvent | ErrorEvent;

/** What connections make for themselves. */
export type ConnectionEvent = HelloEvent | ResetEvent | PingEvent;

export const EVENT_TYPES = ["hello", "start", "delta", "reasoning", "tool", "progress", "step", "log", "preview", "audio", "usage", "done", "error", "reset", "ping"] as const;
export const TERMINAL_TYPES: ReadonlySet<string> = new Set(["done", "error"]);
export const CONNECTION_TYPES: ReadonlySet<string> = new Set(["hello", "ping", "reset"]);

/** How many of the last log lines, steps and previews a snapshot keeps. */
export const LOG_LINES = 200;
export const STEPS = 200;
export const PREVIEWS = 20;

export type Status = Snapshot["status"];

/** The last lines, and how many there have been in all. */
export interface LogTail {
  lines: LogEvent[];
  count: number;
}

/** Which events of the stream are its sound: `count` of those from `first` to `last`. The chunks stay in the log. */
export interface Sound {
  mime: string;
  first: number;
  last: number;
  count: number;
}

/** A stream's state after event `seq`. */
export interface Snapshot {
  stream: string;
  seq: number;
  status: "cancelled" | "done" | "error" | "running";
  kind: string | null;
  title: string | null;
  model: string | null;
  total: number | null;
  unit: string | null;
  cancellable: boolean;
  stall: number | null;
  origin: Origin | null;
  text: string;
  reasoning: string;
  bars: ProgressEvent[];
  steps: StepEvent[];
  log: LogTail;
  previews: PreviewEvent[];
  audio: Sound | null;
  tools: ToolEvent[];
  usage: UsageEvent | null;
  reason: string | null;
  via: string | null;
  result: unknown;
  error: ErrorEvent | null;
  started: number | null;
  updated: number | null;
  ended: number | null;
}
