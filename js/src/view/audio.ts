// Sound that is played while it comes, without gaps: samples through Web Audio, what is compressed through MediaSource.

import { formatOf, isWav, PcmReader, type Samples } from "./pcm";

export type AudioState = "waiting" | "playing" | "paused" | "ended" | "failed";

const FIRST_LEAD = 0.1; // seconds that are gathered before sound begins, and that are waited for; after it has run out, twice as many
const LONGEST_LEAD = 1;
const MARGIN = 0.05; // seconds before its time at which something must be scheduled
const STANDING_MS = 20; // for which the clock must have stood to have stopped, looked at so often
const LOOKS = 10;
const HELD = 64; // chunks that wait for one before them, which may never come
const BEHIND = 30; // seconds that are kept of what has been heard

/** Whether a player can begin with any chunk of this type; a file's other chunks mean nothing without the first. */
export function canJoin(mime: string): boolean {
  return formatOf(mime) !== null || /^audio\/(mpeg|mp3|aac)\b/i.test(mime);
}

/**
 * Plays chunks of one sound as they are appended. It says nothing before `play`, which a browser may want to be called
 * when the user has clicked or pressed a key.
 */
export class AudioPlayer {
  /** Why it cannot be played. */
  problem: string | null = null;
  #output: Output | null = null;
  #mime = "";
  #reader: PcmReader | null = null;
  #held = new Map<number, [mime: string, bytes: Uint8Array]>();
  #next: number | null = null; // the number of the chunk that is due
  #playing = false;
  #whole = false;
  #closed = false;
  #changed: () => void;

  /** `changed` is called whenever the state may have become another. */
  constructor(changed: () => void = () => undefined) {
    this.#changed = () => !this.#closed && changed();
  }

  get state(): AudioState {
    if (this.problem !== null) return "failed";
    if (this.#output?.isOver || (this.#whole && !this.#output)) return "ended";
    if (!this.#playing || this.#output?.isSilenced) return "paused";
    return this.#output?.isHeard ? "playing" : "waiting";
  }

  /** Seconds that have been heard. */
  get time(): number {
    return this.#output?.time ?? 0;
  }

  /** Seconds that have come and have not been heard. */
  get ahead(): number {
    return this.#output?.ahead ?? 0;
  }

  /**
   * The next chunk. With numbers they are played in their order, each once; the first that comes is the first. Without,
   * as they come.
   */
  append(mime: string, bytes: Uint8Array, n?: number): void {
    if (this.#closed || this.problem !== null) return;
    if (n === undefined) {
      this.#take(mime, bytes);
      return;
    }
    this.#next ??= n;
    if (n < this.#next) return;
    this.#held.set(n, [mime, bytes]);
    if (this.#held.size > HELD) this.#next = Math.min(...this.#held.keys());
    this.#takeHeld();
  }

  /** Nothing more will come. */
  end(): void {
    if (this.#whole || this.#closed) return;
    for (const n of [...this.#held.keys()].sort((one, other) => one - other)) {
      this.#next = n;
      this.#takeHeld();
    }
    this.#whole = true;
    this.#output?.end();
    this.#changed();
  }

  play(): void {
    this.#playing = true;
    this.#output?.play();
    this.#changed();
  }

  pause(): void {
    this.#playing = false;
    this.#output?.pause();
    this.#changed();
  }

  /** Be silent for good. */
  close(): void {
    this.#closed = true;
    this.#output?.close();
    this.#held.clear();
  }

  #takeHeld(): void {
    for (let chunk; this.#next !== null && (chunk = this.#held.get(this.#next)); this.#next += 1) {
      this.#held.delete(this.#next);
      this.#take(...chunk);
    }
  }

  #take(mime: string, bytes: Uint8Array): void {
    try {
      if (formatOf(mime) || isWav(mime)) this.#takeSamples(mime, bytes);
      else this.#takeCompressed(mime, bytes);
    } catch (error) {
      this.#fail(`${mime} cannot be played: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #takeSamples(mime: string, bytes: Uint8Array): void {
    if (mime !== this.#mime) this.#reader = null;
    this.#mime = mime;
    const samples = (this.#reader ??= new PcmReader(mime)).read(bytes);
    if (!samples) return;
    if (this.#output && !(this.#output instanceof ScheduledOutput)) throw new Error("the sound before was of another kind");
    const output = (this.#output ??= this.#opened(new ScheduledOutput(samples.rate, this.#changed)));
    (output as ScheduledOutput).append(samples);
  }

  #takeCompressed(mime: string, bytes: Uint8Array): void {
    const fail = (): void => this.#fail(`${mime} could not be decoded.`);
    if (!this.#output) {
      const type = MediaOutput.typeFor(mime);
      if (type === null) {
        this.#fail(`This browser cannot play ${mime} while it comes.`);
        return;
      }
      this.#mime = mime;
      this.#output = this.#opened(new MediaOutput(type, this.#changed, fail));
    }
    if (mime !== this.#mime || !(this.#output instanceof MediaOutput)) throw new Error("the sound before was of another kind");
    this.#output.append(bytes);
  }

  #opened<T extends Output>(output: T): T {
    if (this.#playing) output.play();
    else output.pause();
    return output;
  }

  #fail(problem: string): void {
    this.problem ??= problem;
    this.#output?.close();
    this.#held.clear();
    this.#changed();
  }
}

interface Output {
  readonly time: number;
  readonly ahead: number;
  /** It is at it, and has what to play. */
  readonly isHeard: boolean;
  readonly isOver: boolean;
  /** It does not play: it has been paused, or the browser wants to be touched first. */
  readonly isSilenced: boolean;
  play(): void;
  pause(): void;
  end(): void;
  close(): void;
}

/**
 * Samples, each chunk of them scheduled to begin with the very frame at which the one before ends. What is scheduled for a
 * moment that has passed begins late and overlaps with what follows, and the context's time goes on in leaps. So whenever
 * sound begins, and after it has run out, the context is stopped until what is there has been scheduled.
 */
class ScheduledOutput implements Output {
  #context: AudioContext;
  #changed: () => void;
  #waiting: Samples[] = []; // while the context is stopped
  #waitingSeconds = 0;
  #gathering = false;
  #enough: () => void = () => undefined;
  #start = 0; // in the context's seconds, at one of its frames
  #frames = 0; // scheduled since
  #scheduled = 0; // seconds, in all
  #lead = FIRST_LEAD;
  #sounding = new Set<AudioBufferSourceNode>();
  #playing = false;
  #whole = false;

  constructor(rate: number, changed: () => void) {
    // At the sound's own rate: it is the whole that is resampled for the device, and not each chunk with its own edges.
    this.#context = new AudioContext({ sampleRate: rate });
    this.#context.onstatechange = changed;
    this.#changed = changed;
  }

  append(samples: Samples): void {
    const { currentTime, baseLatency } = this.#context;
    if (!this.#gathering && this.#scheduled && this.#end > currentTime + Math.max(MARGIN, 2 * (baseLatency || 0))) {
      this.#schedule(samples);
      return;
    }
    this.#waiting.push(samples);
    this.#waitingSeconds += secondsOf(samples);
    if (!this.#gathering) void this.#gather();
    else if (this.#waitingSeconds >= this.#lead) this.#enough();
  }

  async #gather(): Promise<void> {
    this.#gathering = true;
    const context = this.#context;
    // The end of what was in time is heard first.
    const rest = Math.max(0, this.#end - context.currentTime) * Number(context.state === "running" && this.#scheduled > 0);
    if (rest) await new Promise((resolve) => setTimeout(resolve, 1000 * rest + 1000 * MARGIN));
    await context.suspend().catch(() => undefined);
    // Chromium's may go on for some blocks after it has said that it has stopped.
    for (let time = NaN, look = 0; time !== context.currentTime && look < LOOKS; look += 1) {
      time = context.currentTime;
      await new Promise((resolve) => setTimeout(resolve, STANDING_MS));
    }
    if (this.#waitingSeconds < this.#lead && !this.#whole) {
      await new Promise<void>((resolve) => {
        this.#enough = resolve;
        setTimeout(resolve, 1000 * this.#lead);
      });
    }
    if (context.state === "closed") return;
    this.#lead = Math.min(LONGEST_LEAD, 2 * this.#lead);
    this.#start = Math.ceil((context.currentTime + MARGIN) * context.sampleRate) / context.sampleRate;
    this.#frames = 0;
    for (const samples of this.#waiting) this.#schedule(samples);
    this.#waiting = [];
    this.#waitingSeconds = 0;
    this.#gathering = false;
    if (this.#playing) this.play();
    this.#changed();
  }

  #schedule({ rate, channels }: Samples): void {
    const context = this.#context;
    const length = channels[0]?.length ?? 0;
    const buffer = context.createBuffer(channels.length, length, rate);
    channels.forEach((samples, channel) => buffer.copyToChannel(samples, channel));
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    source.onended = () => {
      this.#sounding.delete(source);
      source.disconnect();
      this.#changed();
    };
    source.start(this.#end);
    this.#sounding.add(source);
    this.#frames += (length * context.sampleRate) / rate;
    this.#scheduled += length / rate;
  }

  get #end(): number {
    return this.#start + this.#frames / this.#context.sampleRate;
  }

  get #unheard(): number {
    return this.#context.state === "closed" ? 0 : Math.min(this.#scheduled, Math.max(0, this.#end - this.#context.currentTime));
  }

  get ahead(): number {
    return this.#unheard + this.#waitingSeconds;
  }

  get time(): number {
    return this.#scheduled - this.#unheard;
  }

  get isHeard(): boolean {
    return this.#context.state === "running" && this.#sounding.size > 0;
  }

  get isOver(): boolean {
    return this.#whole && !this.#gathering && !this.#sounding.size;
  }

  get isSilenced(): boolean {
    return !this.#gathering && this.#context.state !== "running";
  }

  play(): void {
    this.#playing = true;
    if (!this.#gathering && this.#scheduled) void this.#context.resume().catch(() => undefined);
  }

  pause(): void {
    this.#playing = false;
    void this.#context.suspend().catch(() => undefined);
  }

  end(): void {
    this.#whole = true;
    this.#enough();
  }

  close(): void {
    if (this.#context.state !== "closed") void this.#context.close();
    this.#sounding.clear();
    this.#enough();
  }
}

function secondsOf({ rate, channels }: Samples): number {
  return (channels[0]?.length ?? 0) / rate;
}

/** Files and frames as MediaSource takes them, one after the other whatever times they carry. */
class MediaOutput implements Output {
  #element = new Audio();
  #source: MediaSource;
  #url: string;
  #buffer: SourceBuffer | null = null;
  #queue: Uint8Array<ArrayBuffer>[] = [];
  #whole = false;
  #closed: { time: number; isOver: boolean } | null = null;
  #failed: () => void;

  /** As MediaSource wants it to be named; null if this browser does not take it. */
  static typeFor(mime: string): string | null {
    const [type = "", codecs] = mime.toLowerCase().split(";").map((part) => part.trim());
    const named = { "audio/mp3": "audio/mpeg", "audio/webm": "audio/webm;codecs=opus", "audio/mp4": "audio/mp4;codecs=mp4a.40.2" }[type] ?? type;
    const full = codecs?.startsWith("codecs=") ? `${type};${codecs}` : named;
    return mediaSource()?.isTypeSupported(full) ? full : null;
  }

  constructor(type: string, changed: () => void, failed: () => void) {
    this.#failed = failed;
    this.#source = new (mediaSource() as typeof MediaSource)();
    this.#url = URL.createObjectURL(this.#source);
    const element = this.#element;
    element.disableRemotePlayback = true; // else Safari's ManagedMediaSource does not open
    element.src = this.#url;
    element.onerror = failed;
    for (const name of ["playing", "waiting", "pause", "ended", "timeupdate"]) element.addEventListener(name, changed);
    this.#source.addEventListener(
      "sourceopen",
      () => {
        if (this.#closed) return;
        URL.revokeObjectURL(this.#url);
        const buffer = (this.#buffer = this.#source.addSourceBuffer(type));
        buffer.mode = "sequence";
        buffer.addEventListener("updateend", () => {
          changed();
          this.#go();
        });
        buffer.addEventListener("error", failed);
        this.#go();
      },
      { once: true },
    );
  }

  append(bytes: Uint8Array): void {
    this.#queue.push(bytes.slice());
    this.#go();
  }

  #go(): void {
    const buffer = this.#buffer;
    if (!buffer || buffer.updating || this.#source.readyState !== "open") return;
    const old = this.#element.currentTime - BEHIND;
    if (buffer.buffered.length && buffer.buffered.start(0) < old - BEHIND) {
      buffer.remove(0, old);
      return;
    }
    const next = this.#queue[0];
    if (!next) {
      if (this.#whole) this.#source.endOfStream();
      return;
    }
    try {
      buffer.appendBuffer(next);
      this.#queue.shift();
    } catch (error) {
      // Full: once more has been heard there is room, and what plays says so again and again.
      if ((error as DOMException).name === "QuotaExceededError") setTimeout(() => this.#go(), 1000);
      else this.#failed();
    }
  }

  get #end(): number {
    const { buffered } = this.#element;
    return buffered.length ? buffered.end(buffered.length - 1) : 0;
  }

  get time(): number {
    return this.#closed?.time ?? this.#element.currentTime;
  }

  get ahead(): number {
    return Math.max(0, this.#end - this.time);
  }

  get isHeard(): boolean {
    return !this.#element.paused && this.#element.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA;
  }

  get isOver(): boolean {
    return this.#closed?.isOver ?? this.#element.ended;
  }

  get isSilenced(): boolean {
    return this.#element.paused;
  }

  play(): void {
    void this.#element.play().catch(() => undefined);
  }

  pause(): void {
    this.#element.pause();
  }

  end(): void {
    this.#whole = true;
    this.#go();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = { time: this.time, isOver: this.isOver }; // the element forgets it with what it plays
    this.#element.pause();
    this.#element.removeAttribute("src");
    this.#element.load();
    URL.revokeObjectURL(this.#url);
    this.#queue = [];
  }
}

function mediaSource(): typeof MediaSource | undefined {
  const { MediaSource: plain, ManagedMediaSource: managed } = globalThis as { MediaSource?: typeof MediaSource; ManagedMediaSource?: typeof MediaSource };
  return plain ?? managed;
}
