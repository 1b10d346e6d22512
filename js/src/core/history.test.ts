import { expect, test, vi } from "vitest";
import type { LogTail } from "./events";
import { LogLines, type History, type LinesTold } from "./history";

/** A server that has all lines but these. */
class Server implements History {
  asked: string[] = [];
  constructor(private missing: number[] = []) {}

  lines(before: number, limit: number): Promise<LinesTold> {
    this.asked.push(`${before - limit}-${before - 1}`);
    const numbers = Array.from({ length: limit }, (_, index) => before - limit + index).filter((line) => !this.missing.includes(line));
    return Promise.resolve({ count: 1000, first: 1, lines: numbers.map((line) => ({ line, text: `line ${line}`, source: "stdout" })) });
  }

  find = (): never => {
    throw new Error("not asked");
  };
  audio = this.find;
}

const tail = (count: number): LogTail => ({
  count,
  lines: Array.from({ length: 200 }, (_, index) => ({ type: "log", text: `line ${count - 199 + index}`, source: "stdout" })),
});
const come = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
};

test("a page that was among the last lines is asked for again once it is not, whichever of its lines is wanted", async () => {
  const server = new Server();
  const lines = new LogLines(() => undefined);
  lines.update(tail(350), server);
  lines.want(100, 150);
  await come();
  expect([lines.at(150)?.text, lines.at(160)?.text]).toEqual(["line 150", "line 160"]);
  lines.update(tail(600), server);
  lines.want(100, 170);
  await come();
  expect([lines.at(100)?.text, lines.at(170)?.text]).toEqual(["line 100", "line 170"]);
  expect(server.asked).toEqual(["1-150", "1-200"]);
});

test("a line that the server leaves out is not asked for again and again", async () => {
  const server = new Server([1]);
  let turns = 0;
  const lines: LogLines = new LogLines(() => {
    if ((turns += 1) < 5) lines.want(1, 20);
  });
  lines.update(tail(1000), server);
  lines.want(1, 20);
  await come();
  expect([lines.at(1), lines.at(2)?.text, server.asked]).toEqual([undefined, "line 2", ["1-200"]]);
});

test("lines that were asked of one history come from the one that has taken its place", async () => {
  const [before, after] = [new Server(), new Server()];
  const changed = vi.fn(() => lines.want(1, 20));
  const lines: LogLines = new LogLines(changed);
  lines.update(tail(1000), before);
  lines.want(1, 20);
  lines.update(tail(1000), after);
  lines.want(1, 20);
  await come();
  expect([lines.at(1)?.text, after.asked]).toEqual(["line 1", ["1-200"]]);
});
