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
  /** Null if it is no TeX. */
  math: { render: (tex: string, display: boolean) => Element | null; styles: string };
}
export type Name = keyof Extras;

/** How this page gets one of them; tried in order. */
export type Loader = <N extends Name>(name: N) => Promise<Extras[N]>;

interface Page {
  loaded: Partial<Extras>;
  loading: Partial<Record<Name, Promise<void>>>;
}

// Every widget is a module of its own, so a module's variables are not the page's.
const key = Symbol.for("jupyter-sse.extras");
const page = ((globalThis as { [key]?: Page })[key] ??= { loaded: {}, loading: {} });
const loaders: Loader[] = [];

export function provide(...added: Loader[]): void {
  for (const loader of added) if (!loaders.includes(loader)) loaders.push(loader);
}

/** What is loaded already. */
export function loaded<N extends Name>(name: N): Extras[N] | null {
  return (page.loaded[name] as Extras[N] | undefined) ?? null;
}

/** Resolves when it can be had from `loaded`, and never rejects: without it, text stays plain. */
export function load(name: Name): Promise<void> {
  return (page.loading[name] ??= first(name).catch(() => {
    delete page.loading[name]; // another view may have another way
    return new Promise(() => undefined);
  }));
}

async function first(name: Name): Promise<void> {
  let problem: unknown = new Error("no way to load it");
  for (const loader of loaders) {
    try {
      page.loaded[name] = (await loader(name)) as never;
      return;
    } catch (error) {
      problem = error;
    }
  }
  throw problem;
}
