// @vitest-environment happy-dom
import { afterEach, expect, test } from "vitest";
import { h } from "./dom";
import { isMoving, isTyping, keepKeys } from "./keys";

afterEach(() => document.body.replaceChildren());

const key = (name: string, more: KeyboardEventInit = {}): KeyboardEvent => new KeyboardEvent("keydown", { key: name, bubbles: true, ...more });

function box(sizes: Partial<Record<"scrollHeight" | "clientHeight" | "scrollWidth" | "clientWidth", number>>): HTMLElement {
  const element = h("div", { tabindex: 0 });
  for (const [name, value] of Object.entries(sizes)) Object.defineProperty(element, name, { value });
  return element;
}

test("a box that has more than it shows scrolls by keys, and no other", () => {
  const high = box({ scrollHeight: 900, clientHeight: 300 });
  const wide = box({ scrollWidth: 900, clientWidth: 300 });
  const keys = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End", " "];
  expect(keys.filter((name) => isMoving(key(name), high))).toEqual(keys);
  expect(keys.filter((name) => isMoving(key(name), wide))).toEqual([]);
  expect(["ArrowLeft", "ArrowRight"].map((name) => [isMoving(key(name), wide), isMoving(key(name), high)])).toEqual([[true, false], [true, false]]);
  expect(isMoving(key(" ", { shiftKey: true }), high)).toBe(true);
  for (const theirs of [key("d"), key("Enter"), key("ArrowDown", { shiftKey: true }), key("ArrowDown", { ctrlKey: true }), key("Home", { metaKey: true })]) {
    expect(isMoving(theirs, high)).toBe(false);
  }
  expect(isMoving(key(" "), h("audio"))).toBe(true);
  expect(isMoving(key(" "), h("button"))).toBe(false);
});

test("who types keeps all but what saves and the palette", () => {
  for (const own of [key("d"), key("Enter", { shiftKey: true }), key("z", { ctrlKey: true, shiftKey: true })]) expect(isTyping(own)).toBe(true);
  for (const theirs of [key("s", { ctrlKey: true }), key("S", { metaKey: true }), key("C", { ctrlKey: true, shiftKey: true })]) expect(isTyping(theirs)).toBe(false);
});

test("what has the focus is marked before anybody in the page hears of the key", () => {
  const inside = h("button");
  const outside = h("button");
  const root = h("div", {}, inside);
  document.body.append(root, outside);
  const seen: boolean[] = [];
  const hear = ({ target }: Event): void => void seen.push((target as Element).hasAttribute("data-lm-suppress-shortcuts"));
  document.addEventListener("keydown", hear, true);
  const leave = keepKeys(root, ({ key: name }) => name === "a");
  for (const [element, name] of [[inside, "a"], [inside, "b"], [outside, "a"]] as const) element.dispatchEvent(key(name));
  leave();
  inside.dispatchEvent(key("a"));
  document.removeEventListener("keydown", hear, true);
  expect(seen).toEqual([true, false, false, false]);
});
