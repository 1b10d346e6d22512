// What https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation says of an event stream.

import { expect, test, vi } from "vitest";
import { SSEConsumer, type Message } from "./consumer";
import { answer, scripted } from "./fakes";

async function read(parts: Uint8Array[]): Promise<Message[]> {
  const { fetch } = scripted([answer(parts), answer([], { status: 204 })]);
  const messages: Message[] = [];
  await new SSEConsumer("/x", { fetch, retryMs: 0, onMessage: (message) => messages.push(message) }).connect();
  return messages;
}

/** In pieces of every small size, and in two, cut anywhere. */
function* chunkings(bytes: Uint8Array): Generator<Uint8Array[]> {
  for (const size of [1, 2, 3, 5, 7, bytes.length]) {
    const parts: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += size) parts.push(bytes.slice(at, at + size));
    yield parts;
  }
  for (let cut = 1; cut < bytes.length; cut += 1) yield [bytes.slice(0, cut), bytes.slice(cut)];
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const CASES: [name: string, stream: string | Uint8Array, ...expected: [type: string, data: string, lastEventId?: string][]][] = [
  ["a frame", "data: a\n\n", ["message", "a"]],
  ["its name", "event: tick\ndata: a\n\n", ["tick", "a"]],
  ["any name", "event: with space é \ndata: a\n\n", ["with space é ", "a"]],
  ["a name lasts for one frame", "event: tick\ndata: a\n\ndata: b\n\n", ["tick", "a"], ["message", "b"]],
  ["the last name counts", "event: a\nevent: b\ndata: x\n\n", ["b", "x"]],
  ["an empty name is none", "event: a\nevent:\ndata: x\n\n", ["message", "x"]],
  ["a name without data is forgotten", "event: tick\n\ndata: a\n\n", ["message", "a"]],
  ["the order of the lines", "data: a\nid: 1\nevent: tick\n\n", ["tick", "a", "1"]],
  ["several lines of data", "data: a\ndata: b\ndata:\ndata: c\n\n", ["message", "a\nb\n\nc"]],
  ["the specification's stock", "data: YHOO\ndata: +2\ndata: 10\n\n", ["message", "YHOO\n+2\n10"]],
  [
    "the specification's three blocks",
    ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
    ["message", "first event", "1"],
    ["message", "second event", ""],
  ],
  ["the specification's empty data", "data\n\ndata\ndata\n\ndata:", ["message", ""], ["message", "\n"]],
  ["the specification's one space", "data:test\n\ndata: test\n\n", ["message", "test"], ["message", "test"]],
  ["no more than one space", "data:  a\n\ndata:\ta\n\n", ["message", " a"], ["message", "\ta"]],
  ["a colon in the data", "data:a:b: c\n\n", ["message", "a:b: c"]],
  ["LF", "data: a\nid: 1\n\ndata: b\n\n", ["message", "a", "1"], ["message", "b", "1"]],
  ["CR", "data: a\rid: 1\r\rdata: b\r\r", ["message", "a", "1"], ["message", "b", "1"]],
  ["CRLF", "data: a\r\nid: 1\r\n\r\ndata: b\r\n\r\n", ["message", "a", "1"], ["message", "b", "1"]],
  ["all three", "data: a\rdata: b\r\ndata: c\n\rdata: d\r\n\n", ["message", "a\nb\nc"], ["message", "d"]],
  ["blank lines", "\n\r\n\r\n\ndata: a\n\n\n\n\n", ["message", "a"]],
  ["comments", ":\n: data: no\n:data: no\ndata: a\n: in between\ndata: b\n:\n\n", ["message", "a\nb"]],
  ["a frame of comments alone", ": keep-alive\n\n: keep-alive\n\ndata: a\n\n", ["message", "a"]],
  ["fields nobody knows", "dat: a\ndatas: a\nfoo\nbar: 1\nretries: 5\ndata: a\n\n", ["message", "a"]],
  ["names as they are written", "Data: a\nDATA: b\n data: c\ndata : d\ndata: e\n\n", ["message", "e"]],
  ["an id stays until the next", "id: 7\ndata: a\n\ndata: b\n\nid: x y\ndata: c\n\n", ["message", "a", "7"], ["message", "b", "7"], ["message", "c", "x y"]],
  ["an id without data counts", "id: 7\n\ndata: a\n\n", ["message", "a", "7"]],
  ["an empty id takes it back", "id: 7\ndata: a\n\nid:\ndata: b\n\n", ["message", "a", "7"], ["message", "b", ""]],
  ["an id with NUL is none", "id: 7\ndata: a\n\nid: 8\0\ndata: b\n\nid: 9\0\nid: 10\ndata: c\n\n", ["message", "a", "7"], ["message", "b", "7"], ["message", "c", "10"]],
  ["NUL in data", "data: a\0b\n\n", ["message", "a\0b"]],
  ["what is not ended by a blank line", "data: a\n\ndata: b\n", ["message", "a"]],
  ["what ends in the middle of a line", "data: a\n\ndata: b", ["message", "a"]],
  ["a byte order mark", "\ufeffdata: a\n\n", ["message", "a"]],
  ["one, not two", "\ufeff\ufeffdata: a\n\ndata: b\n\n", ["message", "b"]],
  ["at the beginning only", "data: a\n\n\ufeffdata: b\n\ndata: \ufeffc\n\n", ["message", "a"], ["message", "\ufeffc"]],
  ["characters of several bytes", "event: é\ndata: مرحبا 日本 👩‍👩‍👧‍👦\nid: ü\n\n", ["é", "مرحبا 日本 👩‍👩‍👧‍👦", "ü"]],
  ["bytes that are no UTF-8", Uint8Array.of(...utf8("data: a"), 0xff, 0xe2, 0x82, ...utf8("b\n\n")), ["message", "a\ufffd\ufffdb"]],
  ["other line breaks of Unicode are none", "data: a\u2028b\u0085c\u000bd\n\n", ["message", "a\u2028b\u0085c\u000bd"]],
];

test.each(CASES)("%s", async (_, stream, ...expected) => {
  const bytes = typeof stream === "string" ? utf8(stream) : stream;
  const wanted = expected.map(([type, data, lastEventId = ""]) => ({ type, data, lastEventId }));
  for (const parts of chunkings(bytes)) expect(await read([...parts])).toEqual(wanted);
});

test.each([
  ["retry: 5000", 5000],
  ["retry:5000", 5000],
  ["retry: 5000\nretry: 3000", 3000],
  ["retry: 5 s", 1000],
  ["retry: -5", 1000],
  ["retry: 0x10", 1000],
  ["retry:", 1000],
  ["Retry: 5000", 1000],
])("%j makes the pause %i ms", async (line, ms) => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  try {
    const { fetch, calls } = scripted([answer([`${line}\n\n`]), answer([], { status: 204 })]);
    const connected = new SSEConsumer("/x", { fetch, retryMs: 1000 }).connect();
    await vi.advanceTimersByTimeAsync(ms - 1);
    expect(calls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2);
    expect(calls).toHaveLength(2);
    await connected;
  } finally {
    vi.restoreAllMocks();
    vi.useRealTimers();
  }
});
