// What a page says of where its requests go. Outside of pages, as in Node, addresses are whole and no origin is another one.

export function absolute(url: string): URL {
  return new URL(url, typeof document === "undefined" ? globalThis.location?.href : document.baseURI);
}

/** False for an address on another origin than the page's. */
export function isHere(url: string | URL): boolean {
  return typeof location === "undefined" || absolute(String(url)).origin === location.origin;
}

/** What proves to jupyter_server that a request comes from a page of its own; nothing where there is no such cookie. */
export function xsrfHeader(): Record<string, string> {
  const found = typeof document === "undefined" ? null : /(?:^|;\s*)_xsrf=([^;]*)/.exec(document.cookie);
  return found?.[1] ? { "X-XSRFToken": decodeURIComponent(found[1]) } : {};
}
