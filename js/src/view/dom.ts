// Elements by hand: nothing that comes from a stream is ever parsed as HTML.

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | null | undefined>;

/** An element with attributes (false, null and undefined leave one out) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...children.filter((child): child is Node | string => Boolean(child)));
  return element;
}

export function setAttribute(element: Element, name: string, value: Attributes[string]): void {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** A stylesheet that the page's content security policy lets in, if it has one that names a nonce. */
export function styleSheet(text: string): HTMLStyleElement {
  return h("style", { nonce: document.querySelector<HTMLElement>("script[nonce]")?.nonce }, text);
}

/** Touches the DOM only when the text is another. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The URL if following or loading it can do no harm, else null. */
export function safeUrl(url: string, schemes: readonly string[] = ["http:", "https:"]): string | null {
  try {
    const parsed = new URL(url, "https://relative.invalid/");
    const relative = parsed.host === "relative.invalid" && !/^[a-z]+:/i.test(url.trim()) && !url.trim().startsWith("//");
    if (relative) return url;
    return schemes.includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}
