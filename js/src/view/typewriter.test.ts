// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AdaptiveTypewriter, Pacer, type TypewriterOptions } from "./typewriter";

const FRAME = 16;
let hidden = false;
let reduced = false;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["requestAnimationFrame", "cancelAnimationFrame", "performance"] });
  hidden = reduced = false;
  vi.spyOn(document, "hidden", "get").mockImplementation(() => hidden);
  vi.stubGlobal("matchMedia", (query: string) => ({ query, get matches() { return reduced; } }));
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function paced(options?: TypewriterOptions): { pacer: Pacer; pieces: string[]; shown: () => string } {
  const pieces: string[] = [];
  const pacer = new Pacer((piece) => pieces.push(piece), options);
  return { pacer, pieces, shown: () => pieces.join("") };
}

const frames = (ms: number): unknown => vi.advanceTimersByTime(ms);

/** Milliseconds until so much is shown. */
function timeUntil(done: () => boolean): number {
  for (let ms = 0; ms <= 20_000; ms += FRAME) {
    if (done()) return ms;
    frames(FRAME);
  }
  throw new Error("not shown within 20 s");
}

test("plain text takes baseDelayMs a step of charsPerStep", () => {
  const { pacer, shown } = paced({ baseDelayMs: 20, charsPerStep: 2 });
  pacer.append("a".repeat(41));
  frames(200);
  expect(shown().length).toBeGreaterThanOrEqual(18);
  expect(shown().length).toBeLessThanOrEqual(22);
  const rest = timeUntil(() => shown().length === 40);
  expect(rest).toBeGreaterThanOrEqual(160);
  expect(rest).toBeLessThanOrEqual(260);
});

test.each([
  ["Latin", ".!?", ",;:"],
  ["Chinese", "。！？", "、"],
  ["Arabic", "؟", "،؛"],
])("a pause follows punctuation: %s", (_, ends, commas) => {
  const time = (text: string): number => {
    const { pacer, shown } = paced({ maxLagMs: 100_000 });
    pacer.append(text + "xy");
    return timeUntil(() => shown() === text + "x");
  };
  const plain = time("a");
  for (const mark of ends) {
    const paused = time(mark) - plain;
    expect(paused, mark).toBeGreaterThanOrEqual(80 - FRAME);
    expect(paused, mark).toBeLessThanOrEqual(80 + FRAME);
  }
  for (const mark of commas) {
    const paused = time(mark) - plain;
    expect(paused, mark).toBeGreaterThanOrEqual(32 - FRAME);
    expect(paused, mark).toBeLessThanOrEqual(32 + FRAME);
  }
});

test.each([
  ["all at once", 1, 30_000],
  ["2 000 tokens a second", 400, 40],
  ["200 tokens a second", 600, 14],
])("nothing is shown later than the lag allows: %s", (_, batches, size) => {
  const { pacer, shown } = paced({ maxLagMs: 1000 });
  const sentence = "Some words, and more of them. ";
  const text = sentence.repeat(Math.ceil((batches * size) / sentence.length)).slice(0, batches * size);
  const arrived: [at: number, total: number][] = [];
  let worst = 0;
  const observe = (): void => {
    frames(FRAME);
    while (arrived[0] && shown().length >= arrived[0][1] - 1) worst = Math.max(worst, performance.now() - arrived.shift()![0]);
  };
  for (let batch = 1; batch <= batches; batch++) {
    pacer.append(text.slice((batch - 1) * size, batch * size));
    arrived.push([performance.now(), batch * size]);
    observe();
  }
  for (let i = 0; i < 200 && arrived.length; i++) observe();
  expect(arrived).toEqual([]);
  // The rate follows what waits from frame to frame: that much over the bound, and no more.
  expect(worst).toBeLessThanOrEqual(1000 + 6 * FRAME);
  expect(text.startsWith(shown())).toBe(true);
});

test("after a burst the pace is plain again", () => {
  const { pacer, shown } = paced();
  pacer.append("a".repeat(10_000));
  timeUntil(() => shown().length === 9_999);
  frames(500);
  pacer.append("b".repeat(100));
  frames(100);
  expect(shown().length).toBeLessThan(9_999 + 60);
});

const CLUSTERS = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇸🇦", "e\u0301", "한", "ก็", "a", " ", "👍🏽", "\r\n", "مَ"];

test("graphemes never come apart, however the text arrives", () => {
  let seed = 7;
  const random = (n: number): number => (seed = (seed * 48271) % 2147483647) % n;
  for (let round = 0; round < 40; round++) {
    const { pacer, pieces } = paced({ maxLagMs: 300 });
    const text = Array.from({ length: 120 }, () => CLUSTERS[random(CLUSTERS.length)]).join("");
    const ends = new Set([...new Intl.Segmenter().segment(text)].map(({ index, segment }) => index + segment.length));
    for (let at = 0; at < text.length; ) {
      const size = 1 + random(4); // in UTF-16 units: through surrogate pairs too
      pacer.append(text.slice(at, (at += size)));
      if (random(3) === 0) frames(FRAME);
    }
    frames(2000);
    let at = 0;
    for (const piece of pieces) expect(ends).toContain((at += piece.length));
    expect(pacer.pending).toBeGreaterThan(0);
    pacer.flush();
    expect(pieces.join("")).toBe(text);
    expect(pacer.pending).toBe(0);
    pacer.dispose();
  }
});

test("the last grapheme waits for what may join it", () => {
  const { pacer, pieces } = paced();
  pacer.append("a👩");
  frames(500);
  expect(pieces).toEqual(["a"]);
  pacer.append("\u200d🔬!");
  frames(500);
  expect(pieces.slice(1).join("")).toBe("👩‍🔬");
  pacer.flush();
  expect(pieces.at(-1)).toBe("!");
});

test("a hidden page, or one that wants no motion, is given all but the last grapheme at once", () => {
  const { pacer, pieces } = paced();
  pacer.append("one ");
  hidden = true;
  document.dispatchEvent(new Event("visibilitychange"));
  expect(pieces).toEqual(["one"]);
  pacer.append("two 👍");
  expect(pieces).toEqual(["one", " two "]);
  hidden = false;
  reduced = true;
  pacer.append("🏽 three");
  expect(pieces.at(-1)).toBe("👍🏽 thre");
  expect(pacer.pending).toBe(1);
});

test("flush shows the rest, dispose nothing more", () => {
  const { pacer, shown } = paced();
  pacer.append("Hello, world.");
  pacer.flush();
  expect(shown()).toBe("Hello, world.");
  pacer.append(" Not seen.");
  pacer.dispose();
  frames(1000);
  expect(shown()).toBe("Hello, world.");
  expect(vi.getTimerCount()).toBe(0);
});

test("nothing to show asks for no frames", () => {
  const { pacer } = paced();
  pacer.append("Hello");
  frames(1000);
  expect(vi.getTimerCount()).toBe(0);
  expect(pacer.pending).toBe(1);
});

test("show may append or flush", () => {
  const shown: string[] = [];
  const pacer: Pacer = new Pacer((piece) => {
    shown.push(piece);
    if (shown.length === 1) pacer.append("more text");
    if (shown.length === 2) pacer.flush();
  });
  pacer.append("ab");
  frames(1000);
  expect(shown.join("")).toBe("abmore text");
});

test("the work is linear in the text, for one endless grapheme too", () => {
  const cut = vi.spyOn(Intl.Segmenter.prototype, "segment");
  const segmented = (text: string, size: number): number => {
    cut.mockClear();
    const { pacer } = paced();
    for (let at = 0; at < text.length; at += size) {
      pacer.append(text.slice(at, at + size));
      frames(FRAME);
    }
    frames(3000);
    pacer.flush();
    return cut.mock.calls.reduce((sum, [window]) => sum + window.length, 0);
  };
  // A window is looked at again by each frame until it is used up; it never grows with what waits.
  expect(segmented("word ".repeat(20_000), 100_000)).toBeLessThan(4 * 100_000);
  expect(segmented("a" + "\u0300".repeat(20_000), 100)).toBeLessThan(1024 * 600);
});

test("the typewriter adds to an element, in text nodes of bounded length", () => {
  const element = document.createElement("p");
  const typewriter = new AdaptiveTypewriter(element);
  typewriter.append("One. ");
  frames(300);
  const node = element.firstChild as Text;
  expect(node.data).toBe("One.");
  typewriter.append("Two.");
  frames(300);
  expect(element.firstChild).toBe(node);
  typewriter.append("x".repeat(5000));
  frames(3000);
  typewriter.flush();
  expect(element.textContent).toBe("One. Two." + "x".repeat(5000));
  expect(element.childNodes.length).toBeGreaterThan(4);
  typewriter.append("gone");
  typewriter.dispose();
  frames(1000);
  expect(element.textContent).toHaveLength(5009);
});
