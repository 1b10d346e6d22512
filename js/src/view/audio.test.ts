import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AudioPlayer } from "./audio";
import { PcmReader } from "./pcm";

/** One that plays nothing, and whose clock is the test's. */
class FakeContext {
  static made: FakeContext[] = [];
  state = "suspended";
  currentTime = 0;
  destination = {};
  onstatechange: (() => void) | null = null;
  scheduled: { from: number; to: number; first: number; end: () => void }[] = [];
  readonly sampleRate: number;

  constructor({ sampleRate }: { sampleRate: number }) {
    this.sampleRate = sampleRate;
    FakeContext.made.push(this);
  }

  createBuffer(_: number, length: number, rate: number): { duration: number; first: number; copyToChannel: (samples: Float32Array, channel: number) => void } {
    const buffer = {
      duration: length / rate,
      first: NaN,
      copyToChannel: (samples: Float32Array, channel: number) => {
        if (channel === 0) buffer.first = samples[0] as number;
      },
    };
    return buffer;
  }

  createBufferSource(): unknown {
    const source = {
      buffer: null as unknown as { duration: number; first: number },
      onended: (): void => undefined,
      connect: () => undefined,
      disconnect: () => undefined,
      start: (from: number) => this.scheduled.push({ from, to: from + source.buffer.duration, first: source.buffer.first, end: () => source.onended() }),
    };
    return source;
  }

  pass(seconds: number): void {
    this.currentTime += seconds;
    for (const { to, end } of this.scheduled) if (to <= this.currentTime) end();
  }

  resume(): Promise<void> {
    this.state = "running";
    return Promise.resolve();
  }

  suspend(): Promise<void> {
    this.state = "suspended";
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.state = "closed";
    return Promise.resolve();
  }
}

/** The context has stopped, and what there was is scheduled. */
const settled = (ms = 60): Promise<void> => vi.advanceTimersByTimeAsync(ms).then(() => undefined);

const PCM = "audio/pcm;rate=8000;channels=1";

/** Samples of which the first says which chunk it is. */
const chunk = (mark: number, length = 800): Uint8Array => new Uint8Array(Int16Array.from({ length }, () => mark * 1024).buffer);
const context = (): FakeContext => FakeContext.made.at(-1) as FakeContext;
const played = (): number[] => context().scheduled.map(({ first }) => first * 32);

const real = globalThis.AudioContext;
beforeEach(() => {
  vi.useFakeTimers();
  FakeContext.made = [];
  globalThis.AudioContext = FakeContext as unknown as typeof AudioContext;
});
afterEach(() => {
  vi.useRealTimers();
  globalThis.AudioContext = real;
});

test("each chunk begins with the frame at which the one before ends, at the sound's own rate", async () => {
  const player = new AudioPlayer();
  player.play();
  for (const [index, length] of [8000, 801, 1].entries()) player.append("audio/pcm;rate=44100", chunk(index, length), index);
  await settled();
  player.append("audio/pcm;rate=44100", chunk(3, 1234), 3); // while it plays
  expect(context().sampleRate).toBe(44_100);
  const frames = context().scheduled.map(({ from }) => from * 44_100);
  const first = frames[0] as number;
  expect(first).toBeCloseTo(Math.round(first), 6);
  expect(frames.map((frame) => Math.round(1e6 * (frame - first)) / 1e6)).toEqual([0, 8000, 8801, 8802]);
  expect(player.ahead).toBeCloseTo(10_036 / 44_100, 9);
});

test("nothing is scheduled for a moment that may have passed: the clock stands while it is done", async () => {
  const player = new AudioPlayer();
  player.play();
  player.append(PCM, chunk(0, 8000), 0);
  expect([context().scheduled.length, player.state]).toEqual([0, "waiting"]);
  const stopped = vi.spyOn(context(), "createBufferSource").mockImplementation(function (this: FakeContext) {
    expect(this.state).toBe("suspended");
    return FakeContext.prototype.createBufferSource.call(this);
  });
  await settled();
  expect([context().scheduled.length, context().state, player.state]).toEqual([1, "running", "playing"]);
  context().pass(0.98); // its end is too near
  player.append(PCM, chunk(1, 8000), 1);
  await settled(200);
  expect(stopped).toHaveBeenCalledTimes(2);
});

test("sound that comes too late goes on with more time to spare, and a short one without waiting for ever", async () => {
  const player = new AudioPlayer();
  player.play();
  player.append(PCM, chunk(0, 400), 0);
  await settled(100);
  expect(context().scheduled).toHaveLength(0);
  await settled(50); // nothing more has come
  expect(player.state).toBe("playing");
  context().pass(5);
  expect([player.state, player.time]).toEqual(["waiting", 0.05]);
  player.append(PCM, chunk(1), 1);
  await settled(200);
  expect(context().scheduled).toHaveLength(1); // it wants 0.2 s
  player.append(PCM, chunk(2), 2);
  await settled();
  const [, second, third] = context().scheduled;
  expect(second?.from).toBeCloseTo(5.05, 9);
  expect(third?.from).toBeCloseTo(second?.to as number, 9);
  player.end();
  expect(player.state).toBe("playing");
  context().pass(1);
  expect([player.state, player.ahead]).toEqual(["ended", 0]);
});

test("numbers say the order: what is early waits, what has been heard is dropped, and a hole is passed over at the end", async () => {
  const player = new AudioPlayer();
  for (const n of [3, 5, 4, 4, 3, 2, 8, 7]) player.append(PCM, chunk(n), n);
  await settled();
  expect(played()).toEqual([3, 4, 5]);
  player.end();
  await settled();
  expect(played()).toEqual([3, 4, 5, 7, 8]);
});

test("a hole that is not filled holds up no more than 64 chunks", async () => {
  const player = new AudioPlayer();
  player.append(PCM, chunk(0), 0);
  for (let n = 2; n < 70; n += 1) player.append(PCM, chunk(1), n);
  await settled();
  expect(context().scheduled.length).toBe(1 + 68);
});

test("nothing is heard before it is to be played, and a pause loses nothing", async () => {
  const player = new AudioPlayer();
  player.append(PCM, chunk(0));
  await settled();
  expect([player.state, context().state]).toEqual(["paused", "suspended"]);
  player.play();
  player.pause();
  player.append(PCM, chunk(1));
  await settled();
  expect([player.state, context().state, context().scheduled.length]).toEqual(["paused", "suspended", 2]);
  player.close();
  expect(context().state).toBe("closed");
});

test("a type that cannot be played is said", () => {
  const player = new AudioPlayer();
  player.play();
  player.append("audio/ogg;codecs=opus", new Uint8Array([1]));
  expect([player.state, player.problem]).toEqual(["failed", "This browser cannot play audio/ogg;codecs=opus while it comes."]);
});

function wav(bits: number, code: number, write: (view: DataView, at: number) => void, count: number, size = count * (bits / 8)): Uint8Array {
  const view = new DataView(new ArrayBuffer(44 + 2 + 8 + count * (bits / 8)));
  const text = (at: number, name: string): void => [...name].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, code, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, 16_000, true);
  view.setUint16(34, bits, true);
  text(36, "LIST");
  view.setUint32(40, 2, true);
  text(46, "data");
  view.setUint32(50, size, true);
  for (let index = 0; index < count; index += 1) write(view, 54 + index * (bits / 8));
  return new Uint8Array(view.buffer);
}

test.each([
  [8, 1, (view: DataView, at: number) => view.setUint8(at, 192)],
  [16, 1, (view: DataView, at: number) => view.setInt16(at, 16_384, true)],
  [24, 1, (view: DataView, at: number) => view.setUint8(at + 2, 64)],
  [32, 1, (view: DataView, at: number) => view.setInt32(at, 2 ** 30, true)],
  [32, 3, (view: DataView, at: number) => view.setFloat32(at, 0.5, true)],
  [64, 3, (view: DataView, at: number) => view.setFloat64(at, 0.5, true)],
] as const)("WAV of %i bits, format %i, cut anywhere", (bits, code, write) => {
  const file = wav(bits, code, write, 5);
  for (let cut = 0; cut < file.length; cut += 1) {
    const reader = new PcmReader("audio/wav");
    const samples = [file.slice(0, cut), file.slice(cut)].flatMap((part) => [...(reader.read(part)?.channels[0] ?? [])]);
    expect(samples).toEqual([0.5, 0.5, 0.5, 0.5, 0.5]);
  }
});

test("one WAV file after the other, and one that did not know its length", () => {
  const write = (view: DataView, at: number): void => view.setInt16(at, 16_384, true);
  const reader = new PcmReader("audio/wav");
  const [whole, endless] = [wav(16, 1, write, 2), wav(16, 1, write, 1, 0xffff_ffff)];
  const counts = [whole, new Uint8Array([1, 2, 3, 4]), endless, new Uint8Array([0, 64, 0]), new Uint8Array([64])].map((part) => reader.read(part)?.channels[0]?.length ?? 0);
  expect(counts).toEqual([2, 0, 1, 1, 1]);
});

test("bare samples are little-endian as pcm, and big-endian as L16", () => {
  const first = (mime: string): number | undefined => new PcmReader(mime).read(new Uint8Array([0, 64, 1, 0]))?.channels[0]?.[0];
  expect(first("audio/pcm;rate=24000")).toBe(0.5);
  expect(first("audio/L16;codec=pcm;rate=24000")).toBe(0.5);
  expect(first("audio/L16; rate=24000")).toBe(64 / 32768);
});

test("what is closed before the browser has opened it leaves nothing behind, and opens nothing", () => {
  class FakeSource extends EventTarget {
    static made: FakeSource[] = [];
    static isTypeSupported = (): boolean => true;
    addSourceBuffer = vi.fn(() => new EventTarget());
    constructor() {
      super();
      FakeSource.made.push(this);
    }
  }
  const element = { pause: vi.fn(), load: vi.fn(), removeAttribute: vi.fn(), addEventListener: vi.fn(), buffered: { length: 0 }, currentTime: 0, ended: false, paused: true };
  vi.stubGlobal("MediaSource", FakeSource);
  vi.stubGlobal("Audio", function Audio() {
    return element;
  });
  vi.spyOn(URL, "createObjectURL").mockReturnValue("blob:sound");
  const revoked = vi.spyOn(URL, "revokeObjectURL").mockReturnValue(undefined);
  const player = new AudioPlayer();
  player.append("audio/mpeg", new Uint8Array(10));
  player.close();
  expect(revoked).toHaveBeenCalledWith("blob:sound");
  const [source] = FakeSource.made;
  source?.dispatchEvent(new Event("sourceopen"));
  expect(source?.addSourceBuffer).not.toHaveBeenCalled();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});
