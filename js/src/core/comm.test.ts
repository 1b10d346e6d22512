import { expect, test } from "vitest";
import { CommStore } from "./comm";
import { emptySnapshot, fold } from "./state";

function kernel(): { sent: unknown[]; tell: (content: unknown) => void; store: CommStore } {
  const sent: unknown[] = [];
  let tell: (content: unknown) => void = () => undefined;
  const store = new CommStore("s", {
    send: (content) => sent.push(content),
    on: (_event, listener) => (tell = listener),
  });
  return { sent, tell: (content) => tell(content), store };
}

const delta = (text: string): unknown => ({ type: "delta", text });

test("what comes before there is a view is kept, and the first view asks for what follows", () => {
  const { sent, tell, store } = kernel();
  tell({ op: "events", seq: 1, events: [delta("a"), delta("b")] });
  store.subscribe(() => undefined);
  expect(sent).toEqual([{ op: "ready", after: 2 }]);
  tell({ op: "events", seq: 2, events: [delta("b"), delta("c")] });
  expect([store.snapshot.text, store.state]).toEqual(["abc", "open"]);
});

test("a hole is asked for once, and filled by a reset", () => {
  const { sent, tell, store } = kernel();
  store.subscribe(() => undefined);
  tell({ op: "events", seq: 1, events: [delta("a")] });
  for (let seq = 4; seq < 9; seq += 1) tell({ op: "events", seq, events: [delta("?")] });
  expect(sent).toEqual([{ op: "ready", after: -1 }, { op: "ready", after: 1 }]);
  const snapshot = fold(emptySnapshot("s"), [[8, { type: "delta", text: "all" }]]);
  tell({ op: "reset", seq: 8, snapshot });
  tell({ op: "reset", seq: 0, snapshot: emptySnapshot("s") });
  tell({ op: "events", seq: 9, events: [delta("!")] });
  expect(store.snapshot.text).toBe("all!");
});

test("cancel goes to the kernel; what is no message of ours is passed over", async () => {
  const { sent, tell, store } = kernel();
  for (const content of [null, "x", {}, { op: "mood" }]) tell(content);
  expect(store.state).toBe("connecting");
  expect((await store.cancel()).via).toBe("producer");
  expect(sent).toEqual([{ op: "cancel" }]);
});
