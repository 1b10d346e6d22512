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

/** A status in a word. */
export function statusWord(status: string): string {
  return WORDS[status] ?? status;
}

/** What a stream is called in a list. */
export function nameOf({ title, kind }: Entry): string {
  return title || (kind === "answer" ? "Answer" : kind) || "Stream";
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

/** At most three or so significant figures, thousands grouped. */
export function count(value: number): string {
  if (!Number.isFinite(value)) return "?";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) < 1 ? 2 : 4 });
}

/** "12.3 it/s", or "2.5 s/it" when that reads better. */
export function rate(perSecond: number, unit: string): string {
  if (!(perSecond > 0)) return "";
  return perSecond >= 1 ? `${fixed(perSecond)} ${unit}/s` : `${fixed(1 / perSecond)} s/${unit}`;
}

function fixed(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}
