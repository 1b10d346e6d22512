// Images, sound and video that the producer shows; the same key replaces what stood there.

import type { PreviewEvent, Snapshot } from "../core/events";
import { h, safeUrl } from "./dom";

export class Previews {
  readonly element = h("div", { class: "jsse-previews", "data-sse-part": "preview" });
  #drawn = new Map<PreviewEvent, HTMLElement>();

  update({ previews }: Snapshot): void {
    const next = new Map<PreviewEvent, HTMLElement>();
    for (const preview of previews) {
      const figure = this.#drawn.get(preview) ?? this.#figure(preview);
      next.set(preview, figure);
    }
    if ([...next.keys()].some((preview) => !this.#drawn.has(preview)) || next.size !== this.#drawn.size) {
      this.#drawn = next;
      const figures = [...next.values()];
      figures.forEach((figure, index) => {
        if (this.element.children[index] !== figure) this.element.insertBefore(figure, this.element.children[index] ?? null);
      });
      while (this.element.children.length > figures.length) this.element.lastElementChild?.remove();
    }
  }

  /** A picture keeps the height of the one it replaces until it has loaded, so that nothing jumps. */
  #figure(preview: PreviewEvent): HTMLElement {
    const source = preview.data !== undefined ? dataUrl(preview) : safeUrl(preview.url ?? "");
    const caption = preview.alt ?? "";
    if (source === null) return h("div", { class: "jsse-muted" }, `${caption || preview.mime}: cannot be shown here`);
    const figure = h("figure", { class: "jsse-preview" });
    if (preview.mime.startsWith("image/")) {
      const image = h("img", { alt: caption || "Preview", src: source, decoding: "sync" });
      const old = preview.key === undefined ? undefined : this.#standing(preview.key);
      const oldImage = old?.querySelector("img");
      if (oldImage && oldImage.width) image.style.minHeight = `${oldImage.height}px`;
      image.addEventListener("load", () => (image.style.minHeight = ""), { once: true });
      figure.append(image);
    } else if (preview.mime.startsWith("video/")) {
      figure.append(h("video", { src: source, controls: true, muted: true }));
    } else if (preview.mime.startsWith("audio/")) {
      figure.append(h("audio", { src: source, controls: true }));
    } else {
      figure.append(h("a", { href: source, target: "_blank", rel: "noopener noreferrer" }, caption || preview.mime));
    }
    if (caption) figure.append(h("figcaption", { dir: "auto" }, caption));
    return figure;
  }

  #standing(key: string): HTMLElement | undefined {
    for (const [preview, figure] of this.#drawn) if (preview.key === key) return figure;
    return undefined;
  }
}

function dataUrl(preview: PreviewEvent): string | null {
  // A document could run scripts; a picture, sound or film cannot.
  if (!/^(image|audio|video)\/[a-z0-9.+-]+$/i.test(preview.mime)) return null;
  return `data:${preview.mime};base64,${preview.data}`;
}
