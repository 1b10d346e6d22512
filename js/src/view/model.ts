// A 3D model: its name and how to have the file, and the model itself once what draws it is loaded.

import { h, safeUrl, setText } from "./dom";
import { load, loaded, provided } from "./extras";
import type { Media } from "./media";

export function modelElement(media: Media): HTMLElement | null {
  const url = media.data !== undefined ? `data:application/octet-stream;base64,${media.data}` : safeUrl(media.url ?? "");
  if (url === null) return null;
  const name = media.alt || "3D model";
  const link =
    media.data !== undefined
      ? h("a", { href: url, download: `model.${media.mime.endsWith("json") ? "gltf" : "glb"}` }, name)
      : h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, name);
  const element = h("div", { class: "jsse-model", "data-sse-model": "link" }, link);
  const elsewhere = media.data === undefined && new URL(url, location.href).origin !== location.origin;
  if (!elsewhere) {
    void show(element, link, media, url, name);
    return element;
  }
  if (!provided()) return element;
  // Whose server that is, the reader decides whether to ask it.
  const ask = h("button", { type: "button", class: "jsse-button", "data-sse-action": "load" }, `Load the model from ${new URL(url).host}`);
  ask.addEventListener("click", () => {
    ask.remove();
    void show(element, link, media, url, name);
  });
  element.append(ask);
  return element;
}

async function show(element: HTMLElement, link: HTMLElement, media: Media, url: string, name: string): Promise<void> {
  await load("model");
  const make = loaded("model");
  if (!make) return;
  const note = h("span", { class: "jsse-muted", role: "status" });
  if (!document.createElement("canvas").getContext("webgl2")) {
    note.textContent = "This browser has no WebGL to show it with.";
    element.append(note);
    return;
  }
  const end = (state: "shown" | "failed"): void => {
    element.dataset["sseModel"] = state;
    if (media.data !== undefined) URL.revokeObjectURL(source);
    setText(link, "Save the file");
  };
  // A content security policy lets a page read blobs sooner than `data:`.
  const source = media.data === undefined ? url : URL.createObjectURL(new Blob([bytes(media.data)], { type: media.mime }));
  try {
    const viewer = await make(source, name);
    viewer.addEventListener("load", () => end("shown"), { once: true });
    viewer.addEventListener("error", () => {
      viewer.remove();
      note.textContent = "The model could not be shown: it cannot be loaded, or is compressed (Draco, KTX2).";
      end("failed");
    });
    element.prepend(viewer);
    element.append(note);
  } catch (error) {
    console.debug("jupyter-sse: no 3D models", error);
  }
}

function bytes(data: string): Uint8Array<ArrayBuffer> {
  const text = atob(data);
  return Uint8Array.from({ length: text.length }, (_, index) => text.charCodeAt(index));
}
