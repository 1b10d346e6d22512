import { beforeEach, expect, test, vi } from "vitest";
import type { Extras, Loader } from "./extras";

const math: Extras["math"] = { render: () => null, styles: "" };
let module: typeof import("./extras");

/** A widget's own copy of the module, in the same page. */
async function copy(): Promise<typeof import("./extras")> {
  vi.resetModules();
  return import("./extras");
}

beforeEach(async () => {
  delete (globalThis as Record<symbol, unknown>)[Symbol.for("jupyter-sse.extras")];
  module = await copy();
});

test("is loaded when it is asked for, and once for all copies of the module", async () => {
  const first = vi.fn<Loader>(() => Promise.resolve(math));
  module.provide(first);
  expect([first.mock.calls.length, module.loaded("math")]).toEqual([0, null]);
  const other = await copy();
  const second = vi.fn<Loader>(() => Promise.resolve(math));
  other.provide(second);
  await Promise.all([module.load("math"), other.load("math"), module.load("math")]);
  expect([first.mock.calls, second.mock.calls]).toEqual([[["math"]], []]);
  expect([module.loaded("math"), other.loaded("math"), module.loaded("highlight")]).toEqual([math, math, null]);
});

test("the ways are tried in order, and a later view may know another", async () => {
  const asked: string[] = [];
  const way = (name: string, works: boolean): Loader => () => {
    asked.push(name);
    return works ? Promise.resolve(math) : Promise.reject(new Error(name));
  };
  module.provide(way("server", false), way("kernel", false));
  let ready = false;
  void module.load("math").then(() => (ready = true));
  await vi.waitFor(() => expect(asked).toEqual(["server", "kernel"]));
  const other = await copy();
  other.provide(way("other kernel", true));
  await vi.waitFor(async () => {
    await other.load("math");
    expect(ready).toBe(true);
  });
  expect(asked).toEqual(["server", "kernel", "other kernel"]);
});

test("a way that was taken back is not tried", async () => {
  const gone = vi.fn<Loader>(() => Promise.resolve(math));
  module.provide(gone)();
  module.provide(() => Promise.resolve(math));
  await module.load("math");
  expect(gone).not.toHaveBeenCalled();
});
