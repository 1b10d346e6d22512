// Figures as people read them.

import type { ProgressEvent, StepEvent } from "../core/events";
import type { Entry } from "../core/listing";

const WORDS: Record<string, string> = {
  connecting: "Connecting",
  running: "Running",
  reconnecting: "Reconnecting",
  done: "Done",
  error: "Failed",
  cancelled: "Cancelled",
};

const PREFIXES = ["k", "M", "G", "T", "P", "E"];

/** A status in a word. */
export function statusWord(status: string): string {
  return WORDS[status] ?? status;
}

/** What a stream is called in a list. */
export function nameOf({ title, kind }: Entry): string {
  return title || (kind === "answer" ? "Answer" : kind) || "Stream";
}

const ENDS: Record<string, string> = { error: "has failed", cancelled: "was cancelled" };

/** "Training has failed after 1:15.", or how long there has been no news of it. */
export function newsText(entry: Entry): string {
  const name = entry.title || "A stream";
  if (entry.status === "running") return `${name}: ${stalledFor(entry)}.`;
  return `${name} ${ENDS[entry.status] ?? "is done"} after ${duration(entry.updated - entry.created)}.`;
}

/** "[3/8] Rendering" */
export function stepText({ step, of, message }: StepEvent): string {
  return `[${step}${of ? `/${of}` : ""}] ${message}`;
}

/** 75 -> "1:15", 3675 -> "1:01:15". */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, index) => (index ? String(part).padStart(2, "0") : String(part))).join(":");
}

const STALL_S = 120;

/** "no news for 2 min", once there has been none for longer than a stream says it may be; 0 says for ever. */
export function noNews(seconds: number, stall: number | null): string {
  const limit = stall ?? STALL_S;
  return limit && seconds >= limit ? noNewsFor(seconds) : "";
}

/** The same of a stream in a list, of which the server says it. */
export function stalledFor({ stalled }: Entry): string {
  return typeof stalled === "number" ? noNewsFor(Date.now() / 1000 - stalled) : "";
}

function noNewsFor(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  return `no news for ${hours ? `${hours} h ${minutes % 60} min` : seconds < 100 ? `${Math.floor(seconds)} s` : `${minutes} min`}`;
}

/** A time of day, with the date if that is not today; seconds since 1970. */
export function moment(seconds: number, now: Date = new Date()): string {
  const then = new Date(seconds * 1000);
  const time = then.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  if (then.toDateString() === now.toDateString()) return time;
  const year = then.getFullYear() === now.getFullYear() ? {} : { year: "numeric" as const };
  return `${then.toLocaleDateString(undefined, { day: "numeric", month: "short", ...year })}, ${time}`;
}

/** How much of a bar is full, 0 to 100; null where nobody knows. */
export function percent({ n, total, pct }: ProgressEvent): number | null {
  const value = pct ?? (total ? (100 * n) / total : NaN);
  return Number.isFinite(value) ? Math.min(100, Math.max(0, value)) : null;
}

/** At most three or so significant figures, thousands grouped; with a scale, "1.5 M". */
export function count(value: number, scale?: number): string {
  if (!Number.isFinite(value)) return "?";
  // What would be rounded up to the scale is the next prefix's.
  const next = scale && scale > 1 ? 0.9995 * scale : Infinity;
  if (scale && Math.abs(value) >= next) {
    let power = 0;
    for (; Math.abs(value) >= next && power < PREFIXES.length; power += 1) value /= scale;
    return `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} ${PREFIXES[power - 1]}`;
  }
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) < 1 ? 2 : 4 });
}

/** A word as it is; one that is written from right to left does not change the order of the figures around it. */
export function isolated(word: string): string {
  return /[\u0590-\u08ff\ufb1d-\ufefc]/.test(word) ? `\u2068${word}\u2069` : word;
}

/** "3 files", or with a scale "1.5 MB". */
export function quantity(value: number, unit: string, scale?: number): string {
  const figure = count(value, scale);
  return /\d$/.test(figure) ? `${figure} ${unit}` : figure + unit;
}

/** "12.3 it/s", or "2.5 s/it" when that reads better. */
export function rate(perSecond: number, unit: string, scale?: number): string {
  if (!(perSecond > 0)) return "";
  if (scale && perSecond >= scale) return `${quantity(perSecond, unit, scale)}/s`;
  return perSecond >= 1 ? `${fixed(perSecond)} ${unit}/s` : `${fixed(1 / perSecond)} s/${unit}`;
}

function fixed(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}
