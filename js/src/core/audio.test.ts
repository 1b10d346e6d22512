import { expect, test } from "vitest";
import { AudioStreamConsumer, type AudioChunk, type AudioStreamConsumerOptions } from "./audio";
import { answer, done, frame, hello, scripted, type Answer } from "./fakes";

const sound = (id: number, n: number, bytes = [n]): string =>
  frame(id, { type: "audio", mime: "audio/mpeg", n, data: btoa(String.fromCharCode(...bytes)) });

async function listen(answers: Answer[], options: AudioStreamConsumerOptions = {}): Promise<AudioChunk[]> {
  const chunks: AudioChunk[] = [];
  const { fetch } = scripted(answers);
  await new AudioStreamConsumer("/x", { fetch, retryMs: 0, onChunk: (chunk) => chunks.push(chunk), ...options }).connect();
  return chunks;
}

const order = (chunks: AudioChunk[]): number[] => chunks.map(({ n }) => n);

test("chunks come as bytes, with what is said of the stream", async () => {
  let completed = "";
  const types: string[] = [];
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const chunks = await listen([answer([hello, sound(1, 0, bytes), sound(2, 1, []), done(3)])], {
    onComplete: ({ reason }) => (completed = reason),
    onEvent: ({ type }) => types.push(type),
  });
  expect(chunks).toEqual([
    { n: 0, mime: "audio/mpeg", data: Uint8Array.from(bytes) },
    { n: 1, mime: "audio/mpeg", data: new Uint8Array() },
  ]);
  expect(completed).toBe("stop");
  expect(types).toEqual(["hello", "audio", "audio", "done"]);
});

test("onChunk may be given later", async () => {
  const chunks: AudioChunk[] = [];
  const consumer = new AudioStreamConsumer("/x", { fetch: scripted([answer([sound(1, 0), done(2)])]).fetch });
  consumer.onChunk = (chunk) => chunks.push(chunk);
  await consumer.connect();
  expect(order(chunks)).toEqual([0]);
});

test("in order and once, over a cut too", async () => {
  const chunks = await listen([
    answer([sound(1, 2), sound(2, 0), sound(3, 0), "cut"]),
    answer([sound(3, 0), sound(4, 1), sound(5, 3), done(6)]),
  ]);
  expect(order(chunks)).toEqual([0, 1, 2, 3]);
});

test("one that never comes is waited for to the end, or until too many wait", async () => {
  expect(order(await listen([answer([sound(1, 0), sound(2, 3), sound(3, 2), done(4)])]))).toEqual([0, 2, 3]);
  const early: number[] = [];
  const parts = Array.from({ length: 100 }, (_, index) => sound(index + 1, index + 1));
  await listen([answer([...parts, sound(101, 0), done(102)])], {
    onChunk: ({ n }) => early.push(n),
    onEvent: ({ type }) => type === "done" || expect(early.length).toBeLessThan(101),
  });
  expect(early).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
});

test("who comes late, or can be told no more of what was, begins with what comes", async () => {
  const told: unknown[] = [];
  await listen([answer([sound(8, 5), sound(9, 6), done(10)])], {
    lastEventId: "7",
    onChunk: ({ n }) => told.push(n),
    onEvent: ({ type }) => told.push(type),
  });
  expect(told).toEqual([5, "audio", 6, "audio", "done"]);
  const reset = frame(9, { type: "reset", reason: "trimmed", seq: 9, snapshot: {} });
  expect(order(await listen([answer([sound(1, 0), sound(2, 2), reset, sound(10, 7), sound(11, 8), done(12)])]))).toEqual([0, 2, 7, 8]);
});
