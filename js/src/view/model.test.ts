// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test } from "vitest";
import { provide } from "./extras";
import { mediaElement } from "./media";

const made: HTMLElement[] = [];
const asked: string[] = [];
let takeBack: () => void;
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

beforeEach(() => {
  HTMLCanvasElement.prototype.getContext = (() => ({})) as unknown as typeof HTMLCanvasElement.prototype.getContext;
  takeBack = provide(() =>
    Promise.resolve((url: string, alt: string) => {
      asked.push(url);
      const viewer = Object.assign(document.createElement("div"), { title: alt });
      made.push(viewer);
      return Promise.resolve(viewer);
    }),
  );
});
afterEach(() => {
  takeBack();
  made.length = asked.length = 0;
});

test("a model in the stream is read from memory, and can be saved", async () => {
  const element = mediaElement({ mime: "model/gltf-binary", data: "Z2xURg==", alt: "Cube" }) as HTMLElement;
  const link = element.querySelector("a");
  expect([element.textContent, link?.download, element.dataset["sseModel"]]).toEqual(["Cube", "model.glb", "link"]);
  await settled();
  expect([asked[0]?.startsWith("blob:"), element.firstChild === made[0]]).toEqual([true, true]);
  made[0]?.dispatchEvent(new Event("load"));
  expect([element.dataset["sseModel"], link?.textContent]).toEqual(["shown", "Save the file"]);
});

test("a model on another server is asked for by the reader alone", async () => {
  const element = mediaElement({ mime: "model/*", url: "https://models.example/cube.glb" }) as HTMLElement;
  await settled();
  expect(asked).toEqual([]);
  const button = element.querySelector("button");
  expect(button?.textContent).toBe("Load the model from models.example");
  button?.click();
  await settled();
  expect(asked).toEqual(["https://models.example/cube.glb"]);
  made[0]?.dispatchEvent(new Event("error"));
  expect([element.dataset["sseModel"], element.querySelector("[role=status]")?.textContent?.slice(0, 31)]).toEqual(["failed", "The model could not be shown: i"]);
  expect(element.querySelector("a")?.href).toBe("https://models.example/cube.glb");
});

test("where there is nothing to draw it with, there is nothing to be asked, but a link", () => {
  takeBack();
  const element = mediaElement({ mime: "model/*", url: "https://models.example/cube.glb" }) as HTMLElement;
  expect([element.querySelector("button"), element.querySelector("a")?.href]).toEqual([null, "https://models.example/cube.glb"]);
});

test("an address that is none of the web's is no model's", () => {
  expect(mediaElement({ mime: "model/gltf-binary", url: "javascript:alert(1)" })).toBeNull();
});

test("a browser without WebGL says so", async () => {
  HTMLCanvasElement.prototype.getContext = (() => null) as unknown as typeof HTMLCanvasElement.prototype.getContext;
  const element = mediaElement({ mime: "model/gltf-binary", data: "Z2xURg==", alt: "Cube" }) as HTMLElement;
  await settled();
  expect([element.textContent, asked]).toEqual(["CubeThis browser has no WebGL to show it with.", []]);
});
