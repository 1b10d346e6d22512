import { expect, test } from "vitest";
import type { AudioEvent } from "./events";
import { Tape, type Chunk } from "./tape";
import type { History } from "./history";

const chunk = (n: number, size = 4): AudioEvent => ({ type: "audio", mime: "audio/mpeg", data: "A".repeat(size), n });
const seqs = (chunks: readonly Chunk[]): number[] => chunks.map(([seq]) => seq);

test("what came is told once, whichever way it came", async () => {
  const tape = new Tape(null);
  for (const seq of [2, 3, 3, 2, 5]) tape.push(seq, chunk(seq));
  expect(seqs((await tape.after(0, 9)).chunks)).toEqual([2, 3, 5]);
  expect(await tape.after(3, 4)).toEqual({ chunks: [], seq: 4, missed: false });
});

test("a state without anything new loses no sound, and one with does, but for what comes with it", async () => {
  const tape = new Tape(null);
  tape.push(2, chunk(2));
  tape.reset(3, 2);
  expect(await tape.after(0, 2)).toMatchObject({ missed: false, chunks: [[2, {}]] });
  tape.reset(6, 6, { from: 2, chunks: [[4, chunk(4)], [6, chunk(6)]] });
  expect(await tape.after(0, 6)).toMatchObject({ missed: false, seq: 6 });
  expect(seqs((await tape.after(0, 6)).chunks)).toEqual([2, 4, 6]);
  tape.reset(20, 20, { from: 15, chunks: [[18, chunk(18)], [20, chunk(20)]] });
  expect(await tape.after(6, 20)).toMatchObject({ missed: true });
  expect(seqs((await tape.after(6, 20)).chunks)).toEqual([18, 20]);
  tape.reset(30, 30);
  expect(await tape.after(20, 30)).toEqual({ chunks: [], seq: 30, missed: true });
});

test("memory is bounded, and what is not here the server is asked for", async () => {
  const asked: number[][] = [];
  const history = {
    audio: (after: number, last: number) => {
      asked.push([after, last]);
      return Promise.resolve({ chunks: [], seq: last });
    },
  } as unknown as History;
  for (const [tape, kept] of [[new Tape(null), 8], [new Tape(history), 1]] as const) {
    for (let seq = 1; seq <= 20; seq += 1) tape.push(seq, chunk(seq, 1 << 20));
    expect(seqs((await tape.after(20 - kept, 20)).chunks)).toHaveLength(kept);
    await tape.after(3, 20);
  }
  expect(asked).toEqual([[3, 19]]);
});
