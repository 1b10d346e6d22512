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

/** End what a key or the wheel still scrolls smoothly: a browser would add the rest of it to where one goes next. */
export function haltScroll(element: Element): void {
  element.scrollTo({ top: element.scrollTop, behavior: "smooth" });
}

/** Have it read out by the view that an element is in. */
export function say(element: Element, text: string): void {
  element.dispatchEvent(new CustomEvent("jsse-say", { bubbles: true, detail: text }));
}

/** True if it is in the clipboard now. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A server that is reached by http has no clipboard API in its pages.
    const area = h("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return done;
  }
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
