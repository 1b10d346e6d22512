// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Conversation, emptyState, type ChatMessage, type ChatServer, type ChatState, type Question } from "../core/conversation";
import { FakeStore } from "../core/fakes";
import { mountChat } from "./chat";

let el: HTMLElement;
let asked: Question[];
let stores: Map<string, FakeStore>;
let problem: object | null;
let models: string[];
let cancelled: string[];
let chat: Conversation;
let unmount: () => void;

const server: ChatServer = {
  ask: (question) => {
    asked.push(question);
    return problem ? Promise.reject(problem) : Promise.resolve();
  },
  models: () => Promise.resolve({ models, default: models[0] ?? null }),
  source: (stream) => {
    let store = stores.get(stream);
    if (!store) {
      stores.set(stream, (store = new FakeStore(stream)));
      store.cancel = () => {
        cancelled.push(stream);
        return Promise.resolve({ via: "producer", message: "" });
      };
    }
    return store;
  },
};
const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(100);
const one = <T extends HTMLElement>(selector: string, within: ParentNode = el): T => {
  const found = within.querySelector<T>(selector);
  if (!found) throw new Error(`no ${selector}`);
  return found;
};
const box = (): HTMLTextAreaElement => one("[data-sse-chat] > .jsse-chat-composer textarea");
const items = (): HTMLElement[] => [...el.querySelectorAll<HTMLElement>("[data-sse-message]")];
const texts = (): string[] => items().map((item) => one(".jsse-chat-content", item).textContent.trim());
const button = (action: string, within: ParentNode = el): HTMLButtonElement => one(`button[data-sse-action="${action}"]:not([hidden])`, within);
const announced = (): string => one("[data-sse-chat] > [role=status]").textContent;
function press(target: HTMLElement, key: string, more: object = {}): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  return event;
}
async function type(text: string, target = box()): Promise<void> {
  target.value = text;
  target.dispatchEvent(new Event("input", { bubbles: true }));
  await settle();
}
async function ask(text: string): Promise<void> {
  await type(text);
  press(box(), "Enter");
  await settle();
}
async function answer(text: string, end: object = { type: "done", reason: "stop" }): Promise<void> {
  const store = stores.get(asked.at(-1)?.stream ?? "");
  store?.push(store.snapshot.seq + 1, { type: "delta", text });
  store?.push(store.snapshot.seq + 1, end as never);
  await settle();
}
async function show(state: Partial<ChatState> = {}): Promise<void> {
  chat = new Conversation("c1", emptyState(state), server);
  unmount = mountChat(el, chat);
  await settle();
}
const talk: ChatMessage[] = [
  { id: "u1", role: "user", content: "One?" },
  { id: "a1", role: "assistant", content: "**1**", stream: "old", status: "done", model: "big" },
];

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
  stores = new Map();
  problem = null;
  models = ["demo", "big"];
  cancelled = [];
  el = document.createElement("div");
  document.body.append(el);
});
afterEach(() => {
  unmount();
  document.body.replaceChildren();
  vi.useRealTimers();
});

test("Enter sends, Shift+Enter breaks the line, and neither while an input method composes", async () => {
  await show();
  await type("Hello");
  expect(press(box(), "Enter", { shiftKey: true }).defaultPrevented).toBe(false);
  expect(press(box(), "Enter", { isComposing: true }).defaultPrevented).toBe(false);
  expect(press(box(), "Enter", { keyCode: 229 }).defaultPrevented).toBe(false);
  expect(asked).toEqual([]);
  expect(press(box(), "Enter").defaultPrevented).toBe(true);
  await settle();
  expect(asked.map(({ message }) => message)).toEqual(["Hello"]);
  expect([box().value, document.activeElement]).toEqual(["", box()]);
});

test("nothing is sent that says nothing, nor while an answer is written: then the text stays", async () => {
  await show();
  await ask("  \n ");
  expect(asked).toEqual([]);
  await ask("One?");
  await ask("Two?");
  expect(asked).toHaveLength(1);
  expect(box().value).toBe("Two?");
  expect(announced()).toContain("Wait for the answer");
  await answer("1");
  press(box(), "Enter");
  await settle();
  expect(asked.map(({ message }) => message)).toEqual(["One?", "Two?"]);
});

test("an answer is the view of its stream, and what is announced is its state and not its words", async () => {
  await show({ messages: talk });
  expect(texts()).toEqual(["One?", "1"]);
  expect(announced()).toBe("");
  expect(one("[data-sse-part=answer] strong").textContent).toBe("1");
  expect(one("[data-sse-stream=old]").dataset["sseStatus"]).toBe("done");
  await ask("Two?");
  expect(announced()).toBe("Sent. The answer is being written.");
  const stream = asked[0]?.stream ?? "";
  stores.get(stream)?.push(1, { type: "delta", text: "It is " });
  await settle();
  expect(announced()).toBe("Sent. The answer is being written.");
  expect(one(`[data-sse-stream="${stream}"]`).dataset["sseStatus"]).toBe("running");
  await answer("*two*.");
  expect(texts()[3]).toBe("It is two.");
  expect(announced()).toBe("The answer is complete.");
  const log = one("[role=log]");
  expect([log.getAttribute("aria-live"), log.tabIndex, one("ol", log).getAttribute("role")]).toEqual(["off", 0, "list"]);
});

test("Escape stops the answer, and the focus goes to where the next question is typed", async () => {
  await show();
  await ask("One?");
  one("[role=log]").focus();
  press(one("[role=log]"), "Escape");
  expect([cancelled, document.activeElement]).toEqual([[asked[0]?.stream], box()]);
  await answer("1", { type: "done", reason: "cancelled" });
  expect(announced()).toBe("The answer was stopped.");
  expect(items().at(-1)?.dataset["sseStatus"]).toBe("cancelled");
  press(box(), "Escape");
  expect(cancelled).toHaveLength(1);
});

test("one button sends and stops, and it stays where it is", async () => {
  await show();
  await type("One?");
  const both = button("send");
  both.click();
  await settle();
  expect([both.textContent, both.dataset["sseAction"]]).toEqual(["Stop", "cancel"]);
  both.click();
  expect([cancelled, document.activeElement]).toEqual([[asked[0]?.stream], box()]);
});

test("a refusal is shown in the conversation, with the way to try again", async () => {
  problem = { message: "Too many questions. Try again in 9 s.", code: "rate_limited" };
  await show();
  await ask("One?");
  expect(texts()).toEqual(["One?", ""]);
  expect(one(".jsse-error:not([hidden])").textContent).toBe("Too many questions. Try again in 9 s.rate_limited");
  expect(announced()).toBe("The answer failed: Too many questions. Try again in 9 s.");
  problem = null;
  button("retry").click();
  await settle();
  expect(document.activeElement).toBe(box());
  await answer("1");
  expect(texts()).toEqual(["One?", "1"]);
  expect(el.querySelector(".jsse-error:not([hidden])")).toBeNull();
});

test("only the last answer can be tried again, and nothing changed while one is written", async () => {
  await show({ messages: [...talk, { id: "u2", role: "user", content: "Two?" }, { id: "a2", role: "assistant", content: "2" }] });
  const offered = (action: string): boolean[] => items().map((item) => item.querySelector(`[data-sse-action="${action}"]:not([hidden])`) !== null);
  expect(offered("retry")).toEqual([false, false, false, true]);
  expect(offered("edit")).toEqual([true, false, true, false]);
  expect(items().map((item) => button("copy", item).getAttribute("aria-label"))).toEqual([
    "Copy question 1",
    "Copy answer 2",
    "Copy question 3",
    "Copy answer 4",
  ]);
  await ask("Three?");
  expect([...offered("retry"), ...offered("edit")]).not.toContain(true);
});

test("edit and resend replaces what followed; Escape leaves all as it was", async () => {
  await show({ messages: [...talk, { id: "u2", role: "user", content: "Two?" }, { id: "a2", role: "assistant", content: "2" }] });
  const [first] = items() as [HTMLElement];
  button("edit", first).click();
  const area = one<HTMLTextAreaElement>("textarea", first);
  expect([document.activeElement, area.value]).toEqual([area, "One?"]);
  await type("Uno?", area);
  press(area, "Escape");
  expect([texts()[0], first.querySelector("textarea"), document.activeElement]).toEqual(["One?", null, button("edit", first)]);

  button("edit", first).click();
  await type("Uno?", one<HTMLTextAreaElement>("textarea", first));
  press(one("textarea", first), "Enter");
  await settle();
  expect(asked).toMatchObject([{ message: "Uno?", history: [] }]);
  await answer("1");
  expect(texts()).toEqual(["Uno?", "1"]);
  expect(document.activeElement).toBe(box());
});

test("copy takes what was written", async () => {
  const written: string[] = [];
  vi.stubGlobal("navigator", { clipboard: { writeText: (text: string) => (written.push(text), Promise.resolve()) } });
  await show({ messages: talk });
  button("copy", items()[1]).click();
  await settle();
  expect([written, announced()]).toEqual([["**1**"], "Copied."]);
  vi.unstubAllGlobals();
});

test("the models are offered where there is a choice, by name where nobody knows them", async () => {
  await show();
  const select = one<HTMLSelectElement>("select");
  expect([...select.options].map(({ value }) => value)).toEqual(["demo", "big"]);
  expect([select.value, select.labels?.[0]?.textContent?.startsWith("Model")]).toEqual(["demo", true]);
  select.value = "big";
  select.dispatchEvent(new Event("change"));
  await ask("Q");
  expect(asked[0]?.model).toBe("big");
  unmount();

  models = ["demo"];
  await show();
  expect(el.querySelector(".jsse-chat-picker")?.childElementCount).toBe(0);
  unmount();

  models = [];
  await show();
  const input = one<HTMLInputElement>(".jsse-chat-picker input");
  input.value = " ollama:llama3 ";
  input.dispatchEvent(new Event("change"));
  await ask("Q");
  expect(asked[1]?.model).toBe("ollama:llama3");
});

test("what was typed and not sent is there again in the next view", async () => {
  await show();
  await type("A draft");
  unmount();
  unmount = mountChat(el, chat);
  expect(box().value).toBe("A draft");
});

test("the focus is not lost with a message that is taken away", async () => {
  await show({ messages: talk });
  button("copy", items()[1]).focus();
  chat.attach({
    send: () => undefined,
    on: (_, listen) => listen({ op: "change", cut: "u1" }),
  });
  await settle();
  expect([items().length, document.activeElement]).toEqual([0, box()]);
});

test("text from a model or a document is never HTML", async () => {
  const evil = "<img src=x onerror=alert(1)>";
  await show({
    title: evil,
    messages: [
      { id: "u1", role: "user", content: evil },
      { id: "a1", role: "assistant", content: evil, status: "error", error: { message: evil, code: evil }, model: evil },
    ],
  });
  expect(el.querySelectorAll("img")).toHaveLength(0);
});

test("goes on at the end while an answer grows, unless the reader has gone back", async () => {
  await show({ messages: talk });
  const log = one("[role=log]");
  let height = 1000;
  Object.defineProperty(log, "scrollHeight", { get: () => height, configurable: true });
  Object.defineProperty(log, "clientHeight", { value: 200, configurable: true });
  await ask("Two?");
  expect(log.scrollTop).toBe(1000);
  log.scrollTop = 300; // the event that tells of it comes with the next frame
  height = 1500;
  await answer("2");
  expect(log.scrollTop).toBe(300);
  const latest = button("latest");
  latest.click();
  expect([log.scrollTop, latest.hidden, document.activeElement]).toEqual([1500, true, log]);
});
