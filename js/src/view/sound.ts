// The sound of a stream, which is played while it comes if the reader wants to hear it.

import type { Snapshot } from "../core/events";
import type { StreamSource } from "../core/source";
import { AudioPlayer, canJoin } from "./audio";
import { h, say, setText } from "./dom";

/** How the producer names the whole, which it shows as a preview once it is made. */
export const WHOLE = "audio";

const AHEAD = 20; // seconds that are fetched before they are heard
const TICK_MS = 500;

export class Sound {
  readonly element = h("div", { class: "jsse-sound", role: "group", "aria-label": "Sound", "data-sse-part": "audio" });
  #source: StreamSource;
  #toggle = h("button", { type: "button", class: "jsse-button", "data-sse-action": "play" });
  #join = h("button", { type: "button", class: "jsse-button", "data-sse-action": "live" }, "Play from now");
  #time = h("span", { class: "jsse-sound-time" });
  #note = h("span", { class: "jsse-muted", dir: "auto" });
  #player: AudioPlayer | null = null;
  #cursor = 0; // the last event that has been fetched
  #fetching = false;
  #missed = false;
  #problem: string | null = null;
  #unsubscribe: () => void = () => undefined;
  #clock: ReturnType<typeof setInterval> | undefined;

  constructor(source: StreamSource) {
    this.#source = source;
    this.element.append(this.#toggle, this.#join, this.#time, this.#note);
    this.#toggle.addEventListener("click", () => this.#press());
    this.#join.addEventListener("click", () => this.#begin(source.snapshot.audio?.last ?? 0));
  }

  update({ audio, status, previews }: Snapshot): void {
    const state = this.#player?.state ?? "paused";
    const running = status === "running";
    const over = state === "ended" || (state === "failed" && !running);
    const hasWhole = previews.some(({ key, mime }) => key === WHOLE && mime.startsWith("audio/"));
    // Once there is one file of it, that is what is played; but not in the middle of a word.
    this.element.hidden = !running && hasWhole && (!this.#player || over || state === "paused");
    const sounds = state === "playing" || state === "waiting";
    setText(this.#toggle, sounds ? "Pause" : this.#player && !over ? "Go on" : over ? "Play again" : "Play");
    this.#toggle.hidden = !this.#source.tape || (state === "failed" && running);
    this.#join.hidden = !running || this.#player !== null || !audio || audio.count < 2 || !canJoin(audio.mime);
    setText(this.#time, this.#player && state !== "failed" ? clockTime(this.#player.time) : "");
    setText(this.#note, this.#said(state, running, audio?.mime ?? ""));
  }

  #said(state: AudioPlayer["state"], running: boolean, mime: string): string {
    const problem = this.#player?.problem ?? this.#problem;
    if (problem !== null) return running ? `${problem} Its end may bring the whole.` : problem;
    if (!this.#source.tape) return `Sound (${mime}), which was played while it came, and is not kept here.`;
    const missed = this.#missed ? "The beginning is no longer there. " : "";
    if (!this.#player) return `${missed}${running ? "Sound is coming." : "Sound"}`;
    if (state === "waiting") return `${missed}Waiting for more sound …`;
    return state === "ended" ? missed : `${missed}${Math.floor(this.#player.ahead)} s ahead`;
  }

  #press(): void {
    const player = this.#player;
    if (!player || player.state === "ended" || player.state === "failed") {
      this.#begin((this.#source.snapshot.audio?.first ?? 1) - 1);
    } else if (player.state === "paused") {
      player.play();
      say(this.element, "Sound is played.");
    } else {
      player.pause();
      say(this.element, "Sound is paused.");
    }
  }

  /** Play what comes after this event. */
  #begin(cursor: number): void {
    this.#stop();
    this.#cursor = cursor;
    this.#missed = false;
    this.#problem = null;
    this.#player = new AudioPlayer(() => this.#look());
    this.#player.play();
    // Not with the frames of the view, of which a hidden page has none.
    this.#unsubscribe = this.#source.subscribe(() => this.#look());
    this.#clock = setInterval(() => this.#look(), TICK_MS);
    say(this.element, "Sound is played.");
    this.#look();
  }

  #look(): void {
    this.update(this.#source.snapshot);
    void this.#fetch();
    const state = this.#player?.state;
    if (state === "ended" || state === "failed") this.#rest();
  }

  async #fetch(): Promise<void> {
    const player = this.#player;
    if (!player || this.#fetching) return;
    this.#fetching = true;
    try {
      for (;;) {
        const { tape, snapshot } = this.#source;
        const last = snapshot.audio?.last ?? 0;
        if (player !== this.#player || player.problem !== null) break;
        if (this.#cursor >= last) {
          if (snapshot.status !== "running") player.end();
          break;
        }
        if (!tape || player.ahead > AHEAD) break;
        const told = await tape.after(this.#cursor, last);
        if (player !== this.#player) break;
        for (const [, { mime, data, n }] of told.chunks) player.append(mime, bytesOf(data), n);
        this.#cursor = told.seq;
        this.#missed ||= told.missed ?? false;
      }
    } catch (problem) {
      this.#problem = `The sound could not be loaded: ${(problem as { message?: string }).message ?? "unknown error"}`;
      player.end();
    } finally {
      this.#fetching = false;
    }
  }

  /** Nothing more is to be done for the one that plays. */
  #rest(): void {
    this.#unsubscribe();
    clearInterval(this.#clock);
    this.#player?.close();
    this.update(this.#source.snapshot);
  }

  #stop(): void {
    this.#rest();
    this.#player = null;
  }

  dispose(): void {
    this.#stop();
  }
}

function bytesOf(data: string): Uint8Array {
  const text = atob(data);
  return Uint8Array.from({ length: text.length }, (_, index) => text.charCodeAt(index));
}

function clockTime(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
