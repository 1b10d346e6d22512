// One view of a stream, in any element of any page.

import { statusOf, type StreamSource } from "../core/source";
import type { Snapshot } from "../core/events";
import { Answer } from "./answer";
import { Outcome, Reasoning, Tools, Usage } from "./details";
import { h, setAttribute, setText, styleSheet } from "./dom";
import { Header } from "./header";
import { isMoving, isTyping, keepKeys } from "./keys";
import { Log } from "./log";
import { Previews } from "./preview";
import { Progress } from "./progress";
import { Sound } from "./sound";
import { Steps } from "./steps";
import styles from "./style.css";

export interface MountOptions {
  source: StreamSource;
  /** Its content alone, in a page that has the styles, names it, says how it stands and how it ended. */
  bare?: boolean;
}

interface Part {
  element: HTMLElement;
  update(snapshot: Snapshot): void;
  dispose?(): void;
}

/** From top to bottom: when a part is needed, and how it is made. */
const PARTS: [needed: (snapshot: Snapshot) => boolean, make: (source: StreamSource) => Part][] = [
  [({ steps }) => steps.length > 0, () => new Steps()],
  [({ bars }) => bars.length > 0, () => new Progress()],
  [({ reasoning }) => reasoning !== "", () => new Reasoning()],
  [({ tools }) => tools.length > 0, () => new Tools()],
  [({ text }) => text !== "", () => new Answer()],
  [({ audio }) => Boolean(audio), (source) => new Sound(source)],
  [({ previews }) => previews.length > 0, () => new Previews()],
  [({ log }) => log.count > 0, (source) => new Log(source)],
  [({ usage }) => usage !== null, () => new Usage()],
];

/** Show a stream in an element; returns how to take it away. */
export function mount(el: HTMLElement, { source, bare = false }: MountOptions): () => void {
  const root = h("div", { class: "jsse" });
  const header = new Header(source);
  const outcome = new Outcome(() => source.retry());
  const notice = h("div", { class: "jsse-notice", role: "status", dir: "auto" });
  const said = h("div", { class: "jsse-hidden", role: "status", "aria-live": "polite" });
  const body = h("div", { class: "jsse-body" });
  const parts: (Part | null)[] = PARTS.map(() => null);
  root.append(...(bare ? [notice, body] : [styleSheet(styles), header.element, notice, body, outcome.element, said]));
  el.append(root);

  // A chat has keys of its own.
  const leaveKeys = bare ? null : keepKeys(root, (event, target) => (target.matches("input") ? isTyping(event) : isMoving(event, target)));
  root.addEventListener("jsse-say", ({ detail }: CustomEventInit<string>) => setText(said, detail ?? ""));

  let announced = "";
  let announcedAt = 0;
  const announce = (snapshot: Snapshot, status: string): void => {
    const step = snapshot.steps.at(-1);
    const text = [snapshot.title ?? "", status, status === "running" ? (step?.message ?? "") : (snapshot.error?.message ?? "")]
      .filter(Boolean)
      .join(": ");
    // Changes of state at once, steps at most every 5 s: a reader is told, not flooded.
    if (text === announced || (status === "running" && announcedAt > Date.now() - 5000)) return;
    announced = text;
    announcedAt = Date.now();
    setText(said, text);
  };

  const draw = (): void => {
    const { snapshot, state, problem } = source;
    const now = statusOf(source);
    const connecting = now === "connecting";
    const status = connecting ? "running" : now;
    setAttribute(root, "data-sse-stream", source.stream); // a source by URL is told it by the server
    setAttribute(root, "data-sse-status", status);
    setAttribute(root, "data-sse-seq", snapshot.seq);
    root.hidden = hasVanished(snapshot);
    setAttribute(root, "data-connecting", connecting);
    header.update(snapshot, now, Date.now() / 1000, source.heard ? source.heard / 1000 : null);
    setAttribute(root, "data-sse-reason", snapshot.reason);
    // Once it has ended, it is in the notebook.
    setText(notice, status === "running" ? (source.notice ?? "") : "");
    PARTS.forEach(([needed, make], index) => {
      let part = parts[index];
      // A stream that begins anew has nothing any more of what was.
      if (part && !needed(snapshot)) {
        part.dispose?.();
        part.element.remove();
        parts[index] = part = null;
      } else if (!part && needed(snapshot)) {
        parts[index] = part = make(source);
        const next = parts.slice(index + 1).find((other) => other !== null);
        body.insertBefore(part.element, next?.element ?? null);
      }
      part?.update(snapshot);
    });
    outcome.update(snapshot, state === "failed" ? problem : null);
    if (!bare) announce(snapshot, status);
    if (snapshot.status === "running") clock ??= setInterval(tick, 1000);
  };

  // At most once a frame. A hidden tab has no frames, and needs none: it draws what has come when it is shown.
  let frame = 0;
  const drawSoon = (): void => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  };
  let clock: ReturnType<typeof setInterval> | undefined;
  const tick = (): void => {
    if (source.snapshot.status === "running") drawSoon();
    else clock = void clearInterval(clock);
  };
  const unsubscribe = source.subscribe(drawSoon);
  draw();

  return () => {
    unsubscribe();
    leaveKeys?.();
    clearInterval(clock);
    cancelAnimationFrame(frame);
    for (const part of parts) part?.dispose?.();
    root.remove();
  };
}

/** Bars of which none was to be left. */
function hasVanished({ kind, reason, bars, log }: Snapshot): boolean {
  return kind === "bars" && reason === "stop" && !bars.length && !log.count;
}
