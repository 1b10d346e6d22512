import { expect, test } from "vitest";
import { changed, Conversation, emptyState, type ChatMessage, type ChatServer, type Question } from "./conversation";
import { FakeStore } from "./fakes";
import type { StreamSource } from "./source";

/** A server whose answers the test writes. */
class FakeServer implements ChatServer {
  asked: Question[] = [];
  stores = new Map<string, FakeStore & { cancelled?: boolean }>();
  problem: object | null = null;
  hold: Promise<void> = Promise.resolve();

  async ask(question: Question): Promise<void> {
    this.asked.push(question);
    await this.hold;
    if (this.problem) throw this.problem;
  }
  /** The stream of the n-th question. */
  stream(n: number): string {
    return this.asked[n - 1]?.stream ?? "";
  }
  models(): Promise<{ models: string[]; default: string | null }> {
    return Promise.resolve({ models: ["demo", "big"], default: "demo" });
  }
  source(stream: string): StreamSource {
    return this.store(stream);
  }
  store(stream: string): FakeStore & { cancelled?: boolean } {
    let store = this.stores.get(stream);
    if (!store) {
      const made: FakeStore & { cancelled?: boolean } = new FakeStore(stream);
      made.cancel = () => {
        made.cancelled = true;
        return Promise.resolve({ via: "producer", message: "" });
      };
      this.stores.set(stream, (store = made));
    }
    return store;
  }
  write(stream: string, text: string, end: object = { type: "done", reason: "stop" }): void {
    const store = this.store(stream);
    store.push(store.snapshot.seq + 1, { type: "delta", text });
    if (end) store.push(store.snapshot.seq + 1, end as never);
  }
}

/** The kernel's end of a chat, as the test wants it. */
class FakeKernel {
  heard: { op: string; n?: number; [field: string]: unknown }[] = [];
  #listeners: ((content: unknown) => void)[] = [];

  send(content: unknown): void {
    this.heard.push(content as { op: string });
  }
  on(_: "msg:custom", listener: (content: unknown) => void): void {
    this.#listeners.push(listener);
  }
  say(content: object): void {
    for (const listener of this.#listeners) listener(content);
  }
  ops(): string[] {
    return this.heard.map(({ op }) => op);
  }
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};
const said = (chat: Conversation): string[] => chat.messages.map(({ role, content, status }) => `${role}${status ? ` ${status}` : ""}: ${content}`);

function chatWith(server: ChatServer | null, messages: ChatMessage[] = []): Conversation {
  const chat = new Conversation("c1", emptyState({ messages }), server);
  chat.subscribe(() => undefined);
  return chat;
}
const talk: ChatMessage[] = [
  { id: "u1", role: "user", content: "One?" },
  { id: "a1", role: "assistant", content: "1", stream: "old", status: "done" },
];

test("a change cuts and puts, and making it twice changes nothing more", () => {
  const state = emptyState({ messages: talk });
  const change = { cut: "a1", put: [{ id: "a2", role: "assistant", content: "2" } as const] };
  const once = changed(state, change);
  expect(once.messages.map(({ id }) => id)).toEqual(["u1", "a2"]);
  expect(changed(once, change).messages).toEqual(once.messages);
  expect(changed(once, { put: [{ id: "u1", role: "user", content: "Uno?" }] }).messages[0]?.content).toBe("Uno?");
  expect(state.messages).toEqual(talk);
});

test("asks with what was said before, follows the answer, and has it when it ends", async () => {
  const server = new FakeServer();
  const chat = chatWith(server, talk);
  chat.path = "a.ipynb";
  chat.ask("Two?");
  expect(said(chat).slice(2)).toEqual(["user: Two?", "assistant running: "]);
  await settle();
  expect(server.asked).toEqual([
    {
      message: "Two?",
      history: [
        { role: "user", content: "One?" },
        { role: "assistant", content: "1" },
      ],
      stream: expect.stringMatching(/^\w{18}$/),
      origin: { path: "a.ipynb" },
    },
  ]);
  expect(chat.running?.stream).toBe(server.stream(1));
  server.write(server.stream(1), "It is 2.");
  await settle();
  expect(said(chat).slice(2)).toEqual(["user: Two?", "assistant done: It is 2."]);
  expect(chat.source(chat.messages[3] as ChatMessage).snapshot.text).toBe("It is 2.");
  expect(server.store(server.stream(1)).watchers).toBe(0);
});

test("a refusal stays in the conversation, and trying again asks the same in its place", async () => {
  const server = new FakeServer();
  server.problem = { message: "Too many. Try again in 9 s.", code: "rate_limited", retryable: true, status: 429 };
  const chat = chatWith(server);
  chat.ask("Hello?");
  await settle();
  expect(said(chat)).toEqual(["user: Hello?", "assistant error: "]);
  expect(chat.messages[1]?.error).toEqual({ message: "Too many. Try again in 9 s.", code: "rate_limited" });
  server.problem = null;
  chat.retry();
  await settle();
  expect(server.asked.map(({ message, history }) => [message, history])).toEqual([
    ["Hello?", []],
    ["Hello?", []],
  ]);
  expect(said(chat)).toEqual(["user: Hello?", "assistant running: "]);
});

test("an answer that fails half way keeps what there is of it", async () => {
  const server = new FakeServer();
  const chat = chatWith(server);
  chat.ask("Q");
  await settle();
  server.write(server.stream(1), "Half", { type: "error", message: "The model went away.", code: "provider_unavailable", retryable: true });
  await settle();
  expect(chat.messages[1]).toMatchObject({ content: "Half", status: "error", error: { code: "provider_unavailable" } });
});

test("edit puts another question in the place of one and of all that followed", async () => {
  const server = new FakeServer();
  const chat = chatWith(server, [...talk, { id: "u2", role: "user", content: "Two?" }, { id: "a2", role: "assistant", content: "2" }]);
  chat.edit("u1", "Zero?");
  await settle();
  expect(server.asked[0]).toMatchObject({ message: "Zero?", history: [] });
  expect(said(chat)).toEqual(["user: Zero?", "assistant running: "]);
});

test("stop reaches an answer whose stream is not known yet", async () => {
  const server = new FakeServer();
  let answer = (): void => undefined;
  server.hold = new Promise((resolve) => (answer = resolve));
  const chat = chatWith(server);
  chat.ask("Q");
  expect((await chat.stop()).via).toBe("pending");
  answer();
  await settle();
  expect(server.store(server.stream(1)).cancelled).toBe(true);
  server.write(server.stream(1), "", { type: "done", reason: "cancelled" });
  await settle();
  expect(said(chat)).toEqual(["user: Q", "assistant cancelled: "]);
});

test("what is edited away while it is written is stopped", async () => {
  const server = new FakeServer();
  const chat = chatWith(server);
  chat.ask("Q");
  await settle();
  chat.edit(chat.messages[0]?.id ?? "", "R");
  expect(server.store(server.stream(1)).cancelled).toBe(true);
  await settle();
  server.write(server.stream(1), "old");
  await settle();
  expect(said(chat)).toEqual(["user: R", "assistant running: "]);
});

test("an answer that was running when the notebook was saved goes on where its stream is", async () => {
  const server = new FakeServer();
  const chat = chatWith(server, [talk[0] as ChatMessage, { id: "a1", role: "assistant", content: "", stream: "s9", status: "running" }]);
  server.write("s9", "Meanwhile.");
  await settle();
  expect(said(chat)).toEqual(["user: One?", "assistant done: Meanwhile."]);
});

test("one that nobody can know of is said to have failed, and can be tried again", async () => {
  const server = new FakeServer();
  const chat = chatWith(server, [talk[0] as ChatMessage, { id: "a1", role: "assistant", content: "", status: "running" }]);
  expect([chat.messages[1]?.status, chat.messages[1]?.error?.code, chat.running]).toEqual(["error", "not_finished", null]);
  chat.retry();
  await settle();
  expect(server.asked[0]?.message).toBe("One?");
});

test("the models are the server's, and the one chosen is asked", async () => {
  const server = new FakeServer();
  const chat = chatWith(server);
  await settle();
  expect([chat.models, chat.model]).toEqual([["demo", "big"], "demo"]);
  chat.setModel("big");
  chat.ask("Q");
  await settle();
  expect(server.asked[0]?.model).toBe("big");
  expect(chat.messages[1]?.model).toBe("big");
});

test("a kernel that has the chat is told of every change, and what it had not taken survives its own", async () => {
  const server = new FakeServer();
  const chat = chatWith(server, talk);
  chat.ask("Before it answered?");
  const kernel = new FakeKernel();
  chat.attach(kernel);
  await settle();
  expect(kernel.ops().slice(0, 2)).toEqual(["hello", "change"]);
  expect(chat.isBound).toBe(false);
  // The kernel was busy, and has asked something itself meanwhile.
  const own: ChatMessage[] = [{ id: "k1", role: "user", content: "From Python" }];
  kernel.say({ op: "state", ...emptyState({ messages: [...talk, ...own], rev: 7 }) });
  expect(chat.isBound).toBe(true);
  expect(said(chat).slice(2)).toEqual(["user: From Python", "user: Before it answered?", "assistant running: "]);
  // What it takes it has: the same, and in its own order.
  for (const { op, n } of [...kernel.heard]) if (op === "change") kernel.say({ op: "took", n });
  expect(said(chat).slice(2)).toEqual(["user: From Python", "user: Before it answered?", "assistant running: "]);
  kernel.say({ op: "change", cut: "u1" });
  expect(chat.messages).toEqual([]);
});

test("until the kernel answers, what it has put into the document counts", async () => {
  const server = new FakeServer();
  const chat = chatWith(server, talk);
  chat.attach(new FakeKernel());
  chat.ask("Mine?");
  const own: ChatMessage[] = [
    { id: "k1", role: "user", content: "From a busy cell" },
    { id: "k2", role: "assistant", content: "", stream: "k", status: "running" },
  ];
  chat.adopt(emptyState({ messages: [...talk, ...own], rev: 3 }));
  expect(said(chat).slice(2)).toEqual(["user: From a busy cell", "assistant running: ", "user: Mine?", "assistant running: "]);
  server.write("k", "Live.");
  await settle();
  expect(said(chat)[3]).toBe("assistant done: Live.");
  chat.adopt(emptyState({ messages: talk, rev: 2 })); // an older one
  expect(chat.messages).toHaveLength(6);
});

test("where there is no server the kernel is asked, and its events are the answer", async () => {
  const kernel = new FakeKernel();
  const chat = chatWith(null, talk);
  chat.attach(kernel);
  kernel.say({ op: "state", ...emptyState({ messages: talk }) });
  chat.ask("Two?");
  await settle();
  const ask = kernel.heard.at(-1) as unknown as Question & { op: string; id: string };
  expect(ask).toMatchObject({ op: "ask", message: "Two?", history: [{ content: "One?" }, { content: "1" }] });
  const [question, answer] = chat.messages.slice(2) as [ChatMessage, ChatMessage];
  expect(ask.id).toBe(answer.id);
  for (const { op, n } of [...kernel.heard]) if (op === "change") kernel.say({ op: "took", n });
  kernel.say({ op: "change", put: [{ ...answer, stream: "k1" }] });
  expect(kernel.heard.at(-1)).toEqual({ op: "ready", after: -1, stream: "k1" });
  kernel.say({ op: "events", stream: "other", seq: 1, events: [{ type: "delta", text: "not this" }] });
  kernel.say({ op: "events", stream: "k1", seq: 1, events: [{ type: "delta", text: "Tw" }, { type: "delta", text: "o." }] });
  await settle();
  expect(chat.source(chat.running as ChatMessage).snapshot.text).toBe("Two.");
  await chat.stop();
  expect(kernel.heard.at(-1)).toEqual({ op: "cancel", stream: "k1" });
  kernel.say({ op: "events", stream: "k1", seq: 3, events: [{ type: "done", reason: "cancelled" }] });
  await settle();
  expect(chat.messages.slice(2)).toEqual([question, { ...answer, stream: "k1", content: "Two.", status: "cancelled" }]);
});

test("a server without chat is left for the kernel", async () => {
  const server = new FakeServer();
  server.problem = { message: "Not found", code: "http_404", retryable: false, status: 404 };
  const kernel = new FakeKernel();
  const chat = chatWith(server);
  chat.attach(kernel);
  chat.ask("Q");
  await settle();
  expect(kernel.heard.at(-1)).toMatchObject({ op: "ask", message: "Q" });
});

test("with nobody to ask it says so", async () => {
  const chat = chatWith(null);
  chat.ask("Q");
  await settle();
  expect(chat.messages.map(({ content, error }) => error?.code ?? content)).toEqual(["Q", "nobody_there"]);
});

test("an answer of a kernel that goes is said to have failed", async () => {
  const kernel = new FakeKernel();
  const chat = chatWith(null);
  const detach = chat.attach(kernel);
  chat.ask("Q");
  await settle();
  for (const { op, n } of [...kernel.heard]) if (op === "change") kernel.say({ op: "took", n });
  kernel.say({ op: "change", put: [{ ...(chat.running as ChatMessage), stream: "k1" }] });
  kernel.say({ op: "events", stream: "k1", seq: 1, events: [{ type: "delta", text: "Half" }] });
  await settle();
  detach();
  await settle();
  expect(chat.messages[1]).toMatchObject({ content: "Half", status: "error", error: { code: "kernel_gone" } });
});
