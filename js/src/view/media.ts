// A picture, sound, film or 3D model as an element.

import { h, safeUrl } from "./dom";
import { modelElement } from "./model";

export interface Media {
  mime: string;
  url?: string;
  data?: string;
  alt?: string;
}

/** Null for what cannot be shown, or must not be. `instead` stands there if it cannot be loaded. */
export function mediaElement(media: Media, instead: HTMLElement | string = missing(media, "could not be loaded")): HTMLElement | null {
  const kind = media.mime.split("/")[0];
  if (kind === "model") return modelElement(media);
  const source = media.data !== undefined ? dataUrl(media) : safeUrl(media.url ?? "");
  if (source === null) return null;
  if (kind === "image") return failing(h("img", { alt: media.alt ?? "Preview", src: source, decoding: "sync" }), instead);
  if (kind === "video") return failing(h("video", { "aria-label": media.alt, src: source, controls: true, muted: true, playsinline: true, preload: "metadata" }), instead);
  if (kind === "audio") return failing(h("audio", { "aria-label": media.alt, src: source, controls: true, preload: "metadata" }), instead);
  return h("a", { href: source, target: "_blank", rel: "noopener noreferrer" }, media.alt ?? media.mime);
}

/** What a notebook refers to may be on a server that has it no more. */
function failing(element: HTMLElement, instead: HTMLElement | string): HTMLElement {
  element.addEventListener("error", () => element.replaceWith(instead), { once: true });
  return element;
}

export function missing({ alt, mime }: Media, why: string): HTMLElement {
  return h("div", { class: "jsse-muted", dir: "auto" }, `${alt || mime}: ${why}`);
}

function dataUrl({ mime, data }: Media): string | null {
  // A document could run scripts; a picture, sound or film cannot.
  if (!/^(image|audio|video)\/[a-z0-9.+-]+$/i.test(mime)) return null;
  return `data:${mime};base64,${data}`;
}
