// The section "Streams" of the panel of what runs: state, progress, the way to the cell, cancel, forget.

import type { IRunningSessions } from "@jupyterlab/running";
import { LabIcon } from "@jupyterlab/ui-components";
import { Signal } from "@lumino/signaling";
import type { Snapshot } from "../../core/events";
import type { Entry, Listing } from "../../core/listing";
import type { Multiplex } from "../../core/multiplex";
import { duration, nameOf, percent, stalledFor, statusWord, stepText } from "../../view/format";

const FOLLOWED = 20; // running streams whose progress is shown; there may be hundreds
const EVERY_MS = 1000; // how often progress is drawn, while the panel is seen

const SHAPES: Record<string, string> = {
  running: '<circle class="jp-icon-brand0" cx="8" cy="8" r="5" fill="#0097a7"/>',
  done: '<path class="jp-icon-contrast0" d="M3 8.5l3.5 3.5L13 4.5" fill="none" stroke="#388e3c" stroke-width="2"/>',
  error: '<path d="M4 4l8 8M12 4l-8 8" fill="none" stroke="#d32f2f" stroke-width="2"/>',
  cancelled: '<path class="jp-icon3" d="M3 7h10v2H3z" fill="#616161"/>',
};
const ICONS = new Map(
  Object.entries(SHAPES).map(([status, shape]) => [
    status,
    new LabIcon({
      name: `jupyter-sse:${status}`,
      svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16">${shape}</svg>`,
    }),
  ]),
);

interface Item extends IRunningSessions.IRunningItem {
  readonly entry: Entry;
}

export interface RunningOptions {
  /** Show the stream: its cell, where it has one. */
  open: (entry: Entry) => void;
  /** Whether the section can be seen. */
  isVisible: () => boolean;
  /** What could not be done. */
  onError: (message: string) => void;
}

export class RunningStreams implements IRunningSessions.IManager {
  readonly name = "Streams";
  readonly shutdownAllLabel = "Cancel All";
  readonly runningChanged = new Signal<this, void>(this);
  /** How many that have ended are listed. */
  ended = 10;
  #multiplex: Multiplex;
  #options: RunningOptions;
  #following = new Map<string, () => void>();
  #timer: ReturnType<typeof setInterval>;
  #unsubscribe: () => void;

  constructor(multiplex: Multiplex, options: RunningOptions) {
    this.#multiplex = multiplex;
    this.#options = options;
    this.#unsubscribe = this.#listing.subscribe(() => this.#changed());
    this.#timer = setInterval(() => this.#look(), EVERY_MS);
  }

  dispose(): void {
    clearInterval(this.#timer);
    this.#unsubscribe();
    this.#follow([]);
  }

  get #listing(): Listing {
    return this.#multiplex.listing;
  }

  get shutdownAllConfirmationText(): string {
    return "Ask all running streams to stop?";
  }

  shutdownLabel = (item: IRunningSessions.IRunningItem): string =>
    (item as Item).entry.status === "running" ? "Cancel" : "Forget";

  running(): Item[] {
    const entries = this.#listing.entries;
    const ended = entries.filter(({ status }) => status !== "running").slice(0, this.ended);
    return [...this.#running(), ...ended].map((entry) => this.#item(entry));
  }

  shutdownAll(): void {
    for (const entry of this.#running()) void this.#cancel(entry);
  }

  refreshRunning(): void {
    this.#changed();
  }

  #running(): Entry[] {
    return this.#listing.entries.filter(({ status }) => status === "running");
  }

  #item(entry: Entry): Item {
    const { stream, status, path } = entry;
    const name = nameOf(entry);
    return {
      entry,
      context: stream,
      className: `jsse-running jsse-running-${status}`,
      icon: () => ICONS.get(status) ?? (ICONS.get("done") as LabIcon),
      label: () => name,
      labelTitle: () => [name, this.#detail(entry), path].filter(Boolean).join("\n"),
      detail: () => this.#detail(entry),
      open: () => this.#options.open(entry),
      shutdown: () => void (status === "running" ? this.#cancel(entry) : this.#forget(entry)),
    };
  }

  #detail(entry: Entry): string {
    const { stream, status, created, updated } = entry;
    if (status !== "running") return `${statusWord(status)} · ${duration(updated - created)}`;
    const snapshot = this.#following.has(stream) ? this.#multiplex.source(stream).snapshot : null;
    // The panel is narrow and cuts off the end: a warning comes first.
    return [stalledFor(entry), snapshot && progressOf(snapshot), duration(Date.now() / 1000 - created)].filter(Boolean).join(" · ");
  }

  async #cancel({ stream }: Entry): Promise<void> {
    const { via, message } = await this.#multiplex.cancel(stream);
    if (via === "failed") this.#options.onError(message);
  }

  async #forget({ stream }: Entry): Promise<void> {
    if (!(await this.#multiplex.forget(stream))) this.#options.onError("The stream could not be forgotten. Try again.");
  }

  #changed(): void {
    this.#look();
    this.runningChanged.emit();
  }

  /** Progress costs every event of a stream: it is asked for while somebody sees it. */
  #look(): void {
    const running = this.#options.isVisible() ? this.#running().slice(0, FOLLOWED) : [];
    this.#follow(running.map(({ stream }) => stream));
    if (running.length) this.runningChanged.emit();
  }

  #follow(streams: string[]): void {
    for (const [stream, leave] of [...this.#following]) {
      if (streams.includes(stream)) continue;
      leave();
      this.#following.delete(stream);
    }
    for (const stream of streams) {
      if (!this.#following.has(stream)) this.#following.set(stream, this.#multiplex.source(stream).subscribe(() => undefined));
    }
  }
}

/** How far it is: the percentage of the first bar that has one, else the step. */
export function progressOf({ bars, steps }: Snapshot): string {
  for (const bar of bars) {
    const shown = percent(bar);
    if (shown !== null) return `${Math.floor(shown)} %`;
  }
  const step = steps.at(-1);
  return step ? stepText(step) : "";
}
