// @vitest-environment happy-dom
import { afterEach, expect, test, vi } from "vitest";
import type { Entry } from "../core/listing";
import { notifyOnDesktop } from "./desktop";

const entry = { stream: "s1", title: "Training", status: "done", created: 100, updated: 175 } as Entry;

afterEach(() => vi.unstubAllGlobals());

function browser(permission: string, make: () => void = () => undefined): { title: string; onclick?: () => void; close: () => void }[] {
  const told: { title: string; close: () => void }[] = [];
  class Fake {
    static permission = permission;
    close = vi.fn();
    constructor(readonly title: string) {
      make();
      told.push(this);
    }
  }
  vi.stubGlobal("Notification", Fake);
  return told;
}

test("a click leads to the stream", () => {
  const told = browser("granted");
  const open = vi.fn();
  notifyOnDesktop(entry, open);
  told[0]?.onclick?.();
  expect([told[0]?.title, open.mock.calls.length]).toEqual(["Training is done after 1:15.", 1]);
  expect(told[0]?.close).toHaveBeenCalled();
});

test("who has not allowed it is not told", () => {
  const told = browser("default");
  notifyOnDesktop(entry, () => undefined);
  expect(told).toEqual([]);
});

test("a browser that allows what it cannot do is no obstacle to the list of streams", () => {
  browser("granted", () => {
    throw new TypeError("Illegal constructor");
  });
  expect(() => notifyOnDesktop(entry, () => undefined)).not.toThrow();
});
