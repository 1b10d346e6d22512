// A chat: its messages, and what asking, stopping, trying again and editing do to them. The pair of kernel/chat.py.
//
// A change made here is seen at once. Where a kernel has the same chat, its messages are the truth: what it has not taken
// yet is kept and applied on top, so that nothing typed is lost to a busy kernel, or to a change of its own meanwhile.

import type { CommModel } from "./comm";
import { CommStore } from "./comm";
import type { Problem } from "./connection";
import type { Status } from "./events";
import { ELSEWHERE, isElsewhere } from "./multiplex";
import { EndedSource, ExchangeableSource, type CancelAnswer, type StreamSource } from "./source";
import { emptySnapshot } from "./state";

export interface ChatMessage {
  id: string;
  role: "user" | "assistant";
  content: string;
  /** Of an answer: its stream, and how it stands. */
  stream?: string;
  status?: Status;
  error?: ChatError;
  model?: string;
}

export interface ChatError {
  message: string;
  code: string;
}

/** What is kept of a chat, in the notebook and by the kernel. */
export interface ChatState {
  messages: ChatMessage[];
  model: string | null;
  /** Those to choose from, where somebody has said so. */
  models: string[];
  system: string | null;
  title: string | null;
  /** How many changes have led here: of two states of a chat the higher is the later one. */
  rev: number;
}

/** A chat as an output of a notebook holds it; `kernel` is the id of the one that made it. */
export interface ChatBundle extends ChatState {
  chat: string;
  v: number;
  kernel: string | null;
}

/** A document may have been written by anybody. */
export function chatOf(data: unknown): ChatBundle | null {
  const { chat, messages, model, models, system, title, rev, kernel } = (data ?? {}) as Partial<ChatBundle>;
  if (typeof chat !== "string" || !/^[\w-]{1,64}$/.test(chat) || !Array.isArray(messages)) return null;
  const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
  return {
    chat,
    v: 1,
    kernel: text(kernel),
    messages: messages.filter(isMessage),
    model: text(model),
    models: Array.isArray(models) ? models.filter((name) => typeof name === "string") : [],
    system: text(system),
    title: text(title),
    rev: typeof rev === "number" ? rev : 0,
  };
}

function isMessage(given: unknown): given is ChatMessage {
  const { id, role, content, stream, status, error, model } = (given ?? {}) as Partial<ChatMessage>;
  return (
    typeof id === "string" &&
    (role === "user" || role === "assistant") &&
    typeof content === "string" &&
    (stream === undefined || /^[\w-]{1,64}$/.test(stream)) &&
    [undefined, "running", "done", "error", "cancelled"].includes(status) &&
    (error === undefined || (typeof error?.message === "string" && typeof error.code === "string")) &&
    (model === undefined || typeof model === "string")
  );
}

/** Cut this message and what follows it, then put these: each where one with its id stands, else last. */
export interface Change {
  cut?: string;
  put?: ChatMessage[];
  model?: string | null;
}

export interface Question {
  message: string;
  history: { role: string; content: string }[];
  /** The answer's: asked twice with the same one, it is one answer. */
  stream: string;
  model?: string;
  system?: string;
  title?: string;
  origin?: { path: string };
}

/** A server that answers. */
export interface ChatServer {
  /** Have it answered; rejects with a `Problem`. */
  ask(question: Question): Promise<unknown>;
  models(): Promise<{ models: string[]; default: string | null }>;
  source(stream: string): StreamSource;
}

type FromKernel =
  | ({ op: "state" } & ChatState)
  | ({ op: "change" } & Change)
  | { op: "took"; n: number }
  | { op: "output"; data: Record<string, unknown> };

/** Below what a server takes: 1 MiB, with the question. */
const HISTORY_BYTES = 900_000;

export function emptyState(state: Partial<ChatState> = {}): ChatState {
  return { messages: [], model: null, models: [], system: null, title: null, rev: 0, ...state };
}

/** The state after a change; making it twice changes nothing more. */
export function changed(state: ChatState, { cut, put = [], model }: Change): ChatState {
  const at = cut === undefined ? -1 : state.messages.findIndex(({ id }) => id === cut);
  const messages = at < 0 ? [...state.messages] : state.messages.slice(0, at);
  for (const message of put) {
    const index = messages.findIndex(({ id }) => id === message.id);
    if (index < 0) messages.push(message);
    else messages[index] = message;
  }
  return { ...state, messages, model: model === undefined ? state.model : model, rev: state.rev + 1 };
}

const newId = (): string => [...crypto.getRandomValues(new Uint8Array(9))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** The newest of what was said, as much as a server takes. */
function recent(said: Question["history"]): Question["history"] {
  const bytes = new TextEncoder();
  let room = HISTORY_BYTES;
  let from = said.length;
  while (from > 0 && (room -= bytes.encode(JSON.stringify(said[from - 1])).length) >= 0) from -= 1;
  return said.slice(from);
}

const NOBODY: ChatError = {
  message: "Nobody is there to answer: no server that can be asked, and no kernel that has this chat. Run its cell again.",
  code: "nobody_there",
};
const LOST: ChatError = { message: "Nobody here knows how this answer ended.", code: "not_finished" };

export class Conversation {
  readonly id: string;
  /** What is typed and not sent yet: a view that is made anew has it again. */
  draft = "";
  /** What is told of the notebook: where an answer's stream belongs. */
  path: string | null = null;
  #server: ChatServer | null;
  #base: ChatState; // without what is pending
  #state: ChatState;
  #pending = new Map<number, Change>(); // made here, and not known to the kernel
  #count = 0;
  #kernel: Kernel | null = null;
  #offered: string[] = []; // the server's models, and its own default
  #fallback: string | null = null;
  #sources = new Map<string, ExchangeableSource>(); // by message
  #stops = new Map<{ message: string; stream: string }, () => void>(); // how to end following each
  #stopped = new Set<string>(); // messages whose answer is not wanted any more, though its stream is not known yet
  #asked = new Set<string>(); // messages whose question is on its way
  #listeners = new Set<() => void>();
  #outputs = new Set<(data: Record<string, unknown>) => void>();
  #told = false;
  #isWatched = false;
  /** It is known which models there are, or that nobody knows. */
  isSettled = false;
  #askedModels = false;

  constructor(id: string, state: ChatState, server: ChatServer | null) {
    this.id = id;
    this.#server = server;
    this.#base = this.#state = state;
    this.#compute();
  }

  get state(): ChatState {
    return this.#state;
  }

  get messages(): readonly ChatMessage[] {
    return this.#state.messages;
  }

  /** The models to choose from; none where nobody has said. */
  get models(): readonly string[] {
    const { model } = this.#state;
    const models = this.#state.models.length ? this.#state.models : this.#offered;
    return !models.length || model === null || models.includes(model) ? models : [model, ...models];
  }

  /** The one that answers, as far as is known. */
  get model(): string | null {
    return this.#state.model ?? this.#fallback;
  }

  /** The answer that is being written. */
  get running(): ChatMessage | null {
    return this.messages.find(({ status }) => status === "running") ?? null;
  }

  /** A kernel has this chat, and its messages are the truth. */
  get isBound(): boolean {
    return this.#kernel?.isKnown ?? false;
  }

  /** Something was said, or chosen, in this page. */
  get isUsed(): boolean {
    return this.#count > 0;
  }

  /** The document has another state of this chat: a kernel that has not answered yet may have put it there. */
  adopt(state: ChatState): void {
    if (this.isBound || state.rev <= this.#base.rev) return;
    if (JSON.stringify(state.messages) === JSON.stringify(this.messages)) return; // what was written from here
    this.#base = { ...this.#base, ...state };
    this.#compute();
  }

  /** Called after changes, at most once a task. Returns how to stop it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#watch(true);
    return () => {
      if (this.#listeners.delete(listener) && !this.#listeners.size) this.#watch(false);
    };
  }

  // What the reader does

  ask(text: string): void {
    this.#turn(text, this.messages.length);
  }

  /** Have the last answer written again. */
  retry(): void {
    const at = this.messages.length - 1;
    const [question, answer] = [this.messages[at - 1], this.messages[at]];
    if (answer?.role !== "assistant" || question?.role !== "user") return;
    this.#leave(answer);
    const again = this.#newAnswer();
    this.#change({ cut: answer.id, put: [again] });
    void this.#request(again, question.content, at - 1);
  }

  /** Put another question in the place of this one and of all that followed. */
  edit(id: string, text: string): void {
    const at = this.messages.findIndex((message) => message.id === id);
    if (at < 0) return;
    for (const message of this.messages.slice(at)) this.#leave(message);
    this.#turn(text, at);
  }

  async stop(): Promise<CancelAnswer> {
    const message = this.running;
    if (!message) return { via: "ended", message: "" };
    if (!this.#asked.has(message.id)) return this.source(message).cancel();
    this.#stopped.add(message.id); // the server may not have begun yet
    return { via: "pending", message: "" };
  }

  setModel(model: string): void {
    if (model !== this.model) this.#change({ model });
  }

  /** The stream that an answer is, or was. */
  source(message: ChatMessage): StreamSource {
    let source = this.#sources.get(message.id);
    if (!source) this.#sources.set(message.id, (source = new ExchangeableSource(this.#find(message))));
    return source;
  }

  // The server

  #turn(text: string, at: number): void {
    const cut = this.messages[at]?.id;
    const answer = this.#newAnswer();
    const question: ChatMessage = { id: newId(), role: "user", content: text };
    this.#change({ ...(cut === undefined ? {} : { cut }), put: [question, answer] });
    void this.#request(answer, text, at);
  }

  #newAnswer(): ChatMessage {
    const { model } = this;
    const id = newId();
    this.#asked.add(id);
    return { id, role: "assistant", content: "", status: "running", stream: newId(), ...(model === null ? {} : { model }) };
  }

  /** Ask for this answer; the messages before `at` are what was said until then. */
  async #request(answer: ChatMessage, text: string, at: number): Promise<void> {
    const { model, system, title } = this.#state;
    const question: Question = {
      message: text,
      history: recent(this.messages.slice(0, at).flatMap(({ role, content }) => (content ? [{ role, content }] : []))),
      stream: answer.stream ?? newId(),
      ...(model === null ? {} : { model }),
      ...(system === null ? {} : { system }),
      ...(title === null ? {} : { title }),
      ...(this.path === null ? {} : { origin: { path: this.path } }),
    };
    let problem = await (this.#server ? this.#server.ask(question).then(() => null, (error: Problem) => error) : NOBODY);
    if (problem && this.#server && ELSEWHERE.has(problem.code)) {
      this.#server = null;
      problem = NOBODY;
    }
    this.#asked.delete(answer.id);
    const stopped = this.#stopped.delete(answer.id) || !this.messages.some(({ id }) => id === answer.id);
    if (!problem) {
      if (stopped) void this.#server?.source(question.stream).cancel();
      // So that it has the answer although this page is closed before its end.
      this.#kernel?.channel.send({ op: "asked", id: answer.id });
      this.#compute();
    } else if (this.#server || !this.#kernel || stopped) {
      this.#failed(answer.id, problem, stopped);
    } else {
      this.#sources.delete(answer.id);
      this.#kernel.channel.send({ op: "ask", id: answer.id, ...question });
      this.#compute();
    }
  }

  #failed(id: string, { message, code }: ChatError, stopped: boolean): void {
    const answer = this.messages.find((one) => one.id === id);
    if (answer?.status !== "running") return;
    this.#change({ put: [{ ...answer, ...(stopped ? { status: "cancelled" } : { status: "error", error: { message, code } }) }] });
  }

  async #fetchModels(): Promise<void> {
    this.#askedModels = true;
    const told = this.#state.models.length ? null : await this.#server?.models().catch(() => null);
    this.isSettled = true;
    if (told) {
      this.#fallback = told.default;
      if (!this.#base.models.length) this.#offered = told.models;
    }
    this.#tell();
  }

  // The streams

  #find(message: ChatMessage): StreamSource {
    const { id, stream, status = "done", content } = message;
    if (status !== "running" || !stream) {
      return new EndedSource({ ...emptySnapshot(stream ?? id), kind: "answer", text: content, status });
    }
    return this.#server?.source(stream) ?? this.#kernel?.source(stream) ?? new EndedSource(emptySnapshot(stream));
  }

  /** Have each answer that is being written followed to its end, and no other. */
  #follow(): void {
    const messages = new Map(this.messages.map((message) => [message.id, message]));
    for (const [id, source] of this.#sources) {
      const message = messages.get(id);
      if (!message || (message.stream ?? id) !== source.stream) this.#sources.delete(id);
      else if (message.status !== "running" && source.snapshot.status === "running") source.exchange(this.#find(message));
    }
    for (const [source, stop] of this.#stops) {
      const message = messages.get(source.message);
      if (this.#isWatched && message?.status === "running" && message.stream === source.stream) continue;
      stop();
      this.#stops.delete(source);
    }
    if (!this.#isWatched) return;
    for (const message of messages.values()) {
      if (message.status !== "running" || [...this.#stops.keys()].some((one) => one.message === message.id)) continue;
      const source = this.source(message) as ExchangeableSource;
      const look = (): void => this.#looked(message.id, source);
      this.#stops.set({ message: message.id, stream: source.stream }, source.subscribe(look));
      look();
    }
  }

  /** An answer has more, or its end. */
  #looked(id: string, source: ExchangeableSource): void {
    const message = this.messages.find((one) => one.id === id);
    if (message?.status !== "running") return;
    const { snapshot, problem } = source;
    if (snapshot.status === "running" && this.#asked.has(id)) return; // what is wrong the request says
    if (isElsewhere(source) && this.#kernel && message.stream) {
      source.exchange(this.#kernel.source(message.stream));
      return;
    }
    const error = snapshot.error ?? (source.state === "failed" ? problem : null);
    if (snapshot.status === "running" && !error) return;
    const { error: _, ...rest } = message;
    this.#change({
      put: [
        {
          ...rest,
          content: snapshot.text,
          status: error ? "error" : snapshot.status,
          ...(snapshot.model ? { model: snapshot.model } : {}),
          ...(error ? { error: { message: error.message, code: error.code } } : {}),
        },
      ],
    });
  }

  /** Nobody wants this answer any more. */
  #leave(message: ChatMessage): void {
    if (message.status === "running" && !this.#asked.has(message.id)) void this.source(message).cancel();
  }

  /** Whether anybody can know of an answer that is said to be running. */
  #isWritten({ id, stream }: ChatMessage): boolean {
    return this.#asked.has(id) || this.#kernel !== null || (stream !== undefined && this.#server !== null);
  }

  // The kernel

  /** A kernel may have this chat: what it says over the channel counts from now on. Returns how to end that. */
  attach(channel: CommModel): () => void {
    const kernel = (this.#kernel = new Kernel(channel));
    channel.on("msg:custom", (content) => {
      if (this.#kernel === kernel) this.#heard(content as FromKernel);
    });
    channel.send({ op: "hello" });
    for (const [n, change] of this.#pending) channel.send({ op: "change", n, ...change });
    this.#compute();
    return () => {
      if (this.#kernel !== kernel) return;
      kernel.fail();
      for (const [id, source] of [...this.#sources]) this.#looked(id, source);
      this.#kernel = null;
      this.#compute();
    };
  }

  #heard(message: FromKernel): void {
    if (message.op === "state") {
      const { op: _, ...state } = message;
      this.#base = { ...emptyState(), ...state };
      if (this.#kernel) this.#kernel.isKnown = true;
    } else if (message.op === "change") {
      const { op: _, ...change } = message;
      this.#base = changed(this.#base, change);
    } else if (message.op === "took") {
      const change = this.#pending.get(message.n);
      this.#pending.delete(message.n);
      if (change) this.#base = changed(this.#base, change);
    } else if (message.op === "output") {
      for (const listener of [...this.#outputs]) listener(message.data);
      return;
    } else {
      return;
    }
    this.#compute();
  }

  /** Called with what the kernel would have in the notebook. Returns how to stop it. */
  onOutput(listener: (data: Record<string, unknown>) => void): () => void {
    this.#outputs.add(listener);
    return () => this.#outputs.delete(listener);
  }

  // Changes

  #change(change: Change): void {
    const n = (this.#count += 1);
    this.#pending.set(n, change);
    this.#kernel?.channel.send({ op: "change", n, ...change });
    this.#compute();
  }

  #compute(): void {
    const state = [...this.#pending.values()].reduce(changed, this.#base);
    const messages = state.messages.map((message): ChatMessage =>
      message.status === "running" && !this.#isWritten(message) ? { ...message, status: "error", error: LOST } : message,
    );
    this.#state = { ...state, messages };
    this.#follow();
    this.#tell();
  }

  #watch(on: boolean): void {
    if (this.#isWatched === on) return;
    this.#isWatched = on;
    if (on && !this.#askedModels) void this.#fetchModels();
    this.#follow();
  }

  #tell(): void {
    if (this.#told) return;
    this.#told = true;
    queueMicrotask(() => {
      this.#told = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }
}

/** The kernel's end of a chat. */
class Kernel {
  readonly channel: CommModel;
  /** It has answered: it has this chat. */
  isKnown = false;
  #stores = new Map<string, CommStore>();

  constructor(channel: CommModel) {
    this.channel = channel;
  }

  /** A stream that comes over the channel; all of a chat's share it. */
  source(stream: string): StreamSource {
    let store = this.#stores.get(stream);
    if (store) return store;
    const { channel } = this;
    store = new CommStore(stream, {
      send: (content) => channel.send({ ...(content as object), stream }),
      on: (event, listener) =>
        channel.on(event, (content) => {
          if ((content as { stream?: string }).stream === stream) listener(content);
        }),
    });
    this.#stores.set(stream, store);
    return store;
  }

  /** It is gone, and with it what it had not told. */
  fail(): void {
    for (const store of this.#stores.values()) {
      if (store.snapshot.status !== "running") continue;
      store.setState("failed", { message: "The kernel that wrote this answer is gone.", code: "kernel_gone", retryable: true });
    }
  }
}

/** The page's chats, which every copy of this module on the page shares: however often one is shown, it is one. */
export function conversationOf(id: string, make: () => Conversation): { conversation: Conversation; release: () => void } {
  const key = Symbol.for("jupyter-sse.chats");
  const shared = globalThis as { [key]?: Map<string, { conversation: Conversation; holders: number }> };
  const known = (shared[key] ??= new Map());
  let entry = known.get(id);
  if (!entry) known.set(id, (entry = { conversation: make(), holders: 0 }));
  const held = entry;
  held.holders += 1;
  let isReleased = false;
  return {
    conversation: held.conversation,
    release: () => {
      if (isReleased) return;
      isReleased = true;
      held.holders -= 1;
      if (!held.holders && known.get(id) === held) known.delete(id);
    },
  };
}
