import { expect, test } from "vitest";
import { newBrowser } from "./fakes";
import { takeSlot } from "./slots";

test("a browser has two places, and one that is given back is taken again", async () => {
  const locks = newBrowser();
  const [first, second, third] = await Promise.all([takeSlot(), takeSlot(), takeSlot()]);
  expect([typeof first, typeof second, third]).toEqual(["function", "function", null]);
  expect(locks.held.size).toBe(2);
  first?.();
  await Promise.resolve();
  const next = await takeSlot();
  expect([typeof next, await takeSlot()]).toEqual(["function", null]);
});

test("who cannot count has no place", async () => {
  Object.defineProperty(navigator, "locks", { value: undefined, configurable: true });
  expect(await takeSlot()).toBeNull();
});

test("who is denied the locks has no place", async () => {
  const request = (): Promise<never> => Promise.reject(new DOMException("insecure", "SecurityError"));
  Object.defineProperty(navigator, "locks", { value: { request }, configurable: true });
  expect(await takeSlot()).toBeNull();
});
