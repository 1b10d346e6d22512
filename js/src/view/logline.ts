// One line of output as elements.

import type { LogEvent } from "../core/events";
import { ansi } from "./ansi";
import { h } from "./dom";

export function logLine(event: LogEvent): HTMLElement {
  const level = (event.level ?? (event.source === "stderr" ? "stderr" : "")).toLowerCase();
  return h("div", { class: "jsse-line", "data-level": level || null, dir: "auto" }, ...ansi(event.text || "\u200b"));
}

/** Mark what matches in an element's text, also where colours change within it. */
export function highlight(element: HTMLElement, pattern: RegExp): void {
  const nodes: [node: Text, start: number][] = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let whole = "";
  while (walker.nextNode()) {
    const node = walker.currentNode as Text;
    nodes.push([node, whole.length]);
    whole += node.data;
  }
  const matches = [...whole.matchAll(pattern)].filter(([text]) => text);
  // From the end, so that what is before a match stays where it is.
  for (const { index, 0: text } of matches.reverse()) {
    for (const [node, start] of [...nodes].reverse()) {
      const from = Math.max(index, start) - start;
      const to = Math.min(index + text.length - start, node.data.length);
      if (from >= to) continue;
      const part = from > 0 ? node.splitText(from) : node;
      if (part.data.length > to - from) part.splitText(to - from);
      const mark = h("mark", {});
      part.replaceWith(mark);
      mark.append(part);
    }
  }
}
