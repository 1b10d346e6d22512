// What is too large for every widget, and is loaded when an answer first needs it: once a page, however many views.

/** A piece of a line and its class; "" is plain. */
export type Run = readonly [className: string, text: string];

export interface Highlighted {
  /** One list a line; together they have the text's characters. */
  lines: Run[][];
  /** The text's end is inside of nothing: what follows may be highlighted by itself. */
  ended: boolean;
}

export interface Extras {
  /** Null if the language is not known. */
  highlight: (code: string, language: string) => Highlighted | null;
  math: {
    /** Null if it is no TeX. */
    render: (tex: string, display: boolean) => Element | null;
    styles: string;
  };
  /** A 3D model that is loaded from a URL, once it can be seen. */
  model: (url: string, alt: string) => Promise<HTMLElement>;
}
export type Name = keyof Extras;
/** A way to get one of them; rejects if it is none. */
export type Loader = (name: Name) => Promise<Extras[Name]>;

interface Slot {
  extra: Extras[Name] | null;
  ready: Promise<void>;
  resolve: () => void;
  busy: boolean;
}

// Every widget is a module of its own, so a module's variables are not the page's.
const key = Symbol.for("jupyter-sse.extras");
const slots = ((globalThis as { [key]?: Partial<Record<Name, Slot>> })[key] ??= {});
const loaders = new Set<Loader>();

/** How this page may get them, in order. Returns how to take the ways back. */
export function provide(...ways: Loader[]): () => void {
  for (const way of ways) loaders.add(way);
  return () => ways.forEach((way) => loaders.delete(way));
}

/** Whether this page has any: as a part of other people's pages, a view has none. */
export function provided(): boolean {
  return loaders.size > 0;
}

/** What is loaded already. */
export function loaded<N extends Name>(name: N): Extras[N] | null {
  return (slots[name]?.extra as Extras[N] | undefined) ?? null;
}

/** Resolves when it is loaded; if it cannot be, never: text stays plain, until a view that knows a way asks again. */
export function load(name: Name): Promise<void> {
  let slot = slots[name];
  if (!slot) {
    let resolve = (): void => undefined;
    const ready = new Promise<void>((done) => (resolve = done));
    slots[name] = slot = { extra: null, ready, resolve, busy: false };
  }
  if (!slot.extra && !slot.busy) void tryAll(name, slot);
  return slot.ready;
}

async function tryAll(name: Name, slot: Slot): Promise<void> {
  slot.busy = true;
  for (const way of loaders) {
    try {
      slot.extra = await way(name);
      slot.resolve();
      break;
    } catch (error) {
      console.debug(`jupyter-sse: ${name} not loaded`, error);
    }
  }
  slot.busy = false;
}
