// What a stream came to: a picture, sound or film, Markdown, a table, a link, or a value as JSON has it.

import { h, safeUrl } from "./dom";
import { count } from "./format";
import { MarkdownView } from "./markdown";
import { mediaElement, type Media } from "./media";

export const TABLE = "application/vnd.jupyter-sse.table+json";

const ROWS = 200;
const COLUMNS = 50;

/** By the end of a URL's path. */
const TYPES: [RegExp, mime: string][] = [
  [/\.(png|jpe?g|gif|webp|avif|svg)$/i, "image/*"],
  [/\.(mp4|webm|ogv|mov|m4v)$/i, "video/*"],
  [/\.(mp3|wav|ogg|oga|flac|m4a)$/i, "audio/*"],
  [/\.(glb|gltf)$/i, "model/*"],
];

export function result(value: unknown): HTMLElement {
  const { mime, url, data, text } = (value ?? {}) as { mime?: unknown; url?: unknown; data?: unknown; text?: unknown };
  if (typeof value === "string" && /^https?:\/\/\S+$/.test(value)) return address(value);
  if (typeof mime === "string" && /^(image|audio|video|model)\//.test(mime)) {
    const media: Media = { mime, alt: "Result", ...(typeof url === "string" ? { url } : {}), ...(typeof data === "string" ? { data } : {}) };
    const element = media.url === undefined && media.data === undefined ? null : mediaElement(media);
    if (element) return h("div", { class: "jsse-preview jsse-result-media" }, element);
  }
  if (mime === "text/markdown" && typeof text === "string") {
    const element = h("div", { class: "jsse-answer" });
    new MarkdownView(element).finish(text);
    return element;
  }
  const table = mime === TABLE ? tableOf(value as Record<string, unknown>) : null;
  if (table) return table;
  if (value !== null && typeof value === "object") return h("pre", { class: "jsse-result", dir: "ltr" }, readable(value));
  return h("div", { class: "jsse-result", dir: "auto" }, String(value));
}

function address(value: string): HTMLElement {
  const url = safeUrl(value);
  if (!url) return h("div", { class: "jsse-result", dir: "auto" }, value);
  const link = h("a", { href: url, target: "_blank", rel: "noopener noreferrer", class: "jsse-result" }, url);
  const [, mime] = TYPES.find(([ending]) => ending.test(new URL(url).pathname)) ?? [];
  const media = mime ? mediaElement({ mime, url, alt: "Result" }, "") : null; // the link stays
  return media ? h("div", { class: "jsse-preview jsse-result-media" }, media, link) : link;
}

function tableOf({ columns, rows, shape }: Record<string, unknown>): HTMLElement | null {
  if (!Array.isArray(columns) || !Array.isArray(rows) || !rows.every(Array.isArray)) return null;
  const cell = (value: unknown): HTMLElement =>
    h("td", { dir: "auto", "data-number": typeof value === "number" }, value === null || value === undefined ? "" : typeof value === "number" ? figure(value) : String(value));
  const body = (rows as unknown[][]).slice(0, ROWS).map((row) => h("tr", {}, ...row.slice(0, COLUMNS).map(cell)));
  const head = columns.slice(0, COLUMNS).map((name) => h("th", { scope: "col", dir: "auto" }, String(name)));
  const [height, width] = Array.isArray(shape) ? (shape as unknown[]) : [];
  const isPart = typeof height === "number" && typeof width === "number" && (height > body.length || width > head.length);
  return h(
    "div",
    { class: "jsse-table" },
    h("div", { class: "jsse-table-box", tabindex: 0, role: "region", "aria-label": "Result" }, h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body))),
    isPart && h("div", { class: "jsse-muted" }, `The first ${count(body.length)} of ${count(height)} rows, of ${count(width)} columns`),
  );
}

/** As pandas shows it, about. */
function figure(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

export function readable(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
