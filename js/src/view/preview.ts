// Images, sound and video that the producer shows; the same key replaces what stood there.

import type { PreviewEvent, Snapshot } from "../core/events";
import { h, setText } from "./dom";
import { mediaElement, missing } from "./media";

export class Previews {
  readonly element = h("div", { class: "jsse-previews", "data-sse-part": "preview" });
  #figures = new Map<string, Figure>();

  update({ previews }: Snapshot): void {
    const next = new Map<string, Figure>();
    for (const preview of previews) {
      const name = preview.key !== undefined ? `key ${preview.key}` : (preview.url ?? preview.data ?? "");
      const figure = this.#figures.get(name) ?? new Figure();
      figure.update(preview);
      next.set(name, figure);
    }
    this.#figures = next;
    const figures = [...next.values()].map(({ element }) => element);
    figures.forEach((figure, index) => {
      if (this.element.children[index] !== figure) this.element.insertBefore(figure, this.element.children[index] ?? null);
    });
    while (this.element.children.length > figures.length) this.element.lastElementChild?.remove();
  }
}

const PATIENCE_MS = 5000; // before what does not load is passed over for what has come since

class Figure {
  readonly element = h("figure", { class: "jsse-preview" });
  #caption = h("figcaption", { dir: "auto", hidden: true });
  #given: PreviewEvent | null = null;
  #shown: PreviewEvent | null = null;
  #loading = 0; // which is being loaded, counted from 1
  #count = 0;

  update(preview: PreviewEvent): void {
    if (preview === this.#given || (this.#given && isSame(preview, this.#given))) return;
    this.#given = preview;
    this.#go();
  }

  /** One after the other: of the frames that come while one is loaded, the last is next. */
  #go(): void {
    const preview = this.#given;
    if (this.#loading || !preview || preview === this.#shown) return;
    this.#shown = preview;
    const element = mediaElement(preview) ?? missing(preview, "cannot be shown here");
    // What stands there stays until the next one can be seen whole.
    const standing = this.element.querySelector("img");
    if (!(standing && element instanceof HTMLImageElement && element.decode)) {
      this.#show(preview, element);
      return;
    }
    // What cannot be loaded is replaced, before it is shown too.
    const content = new DocumentFragment();
    content.append(element);
    const loading = (this.#loading = this.#count += 1);
    const next = (): void => {
      if (this.#loading !== loading) return;
      clearTimeout(patience);
      this.#loading = 0;
      this.#go();
    };
    const patience = setTimeout(next, PATIENCE_MS);
    const show = (): void => {
      if (this.#loading === loading) this.#show(preview, content);
      next();
    };
    // A frame that the server has let go of is passed over, if another has come since.
    element.decode().then(show, () => (this.#given === preview ? show() : next()));
  }

  #show(preview: PreviewEvent, content: Node): void {
    setText(this.#caption, preview.alt ?? "");
    this.#caption.hidden = !preview.alt;
    this.element.replaceChildren(content, this.#caption);
  }
}

function isSame(one: PreviewEvent, other: PreviewEvent): boolean {
  return one.mime === other.mime && one.url === other.url && one.data === other.data && one.alt === other.alt;
}
