// Where a person is on the monitor page, as its address says.

export const STATES = { all: "All", running: "Running", ended: "Ended", failed: "Failed" } as const;
export type State = keyof typeof STATES;

/** What the address says: a stream, or the list as far as it is asked for. */
export interface Place {
  stream: string | null;
  text: string;
  state: State;
}

export function place(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?");
  const asked = new URLSearchParams(query);
  const state = asked.get("state") ?? "";
  return {
    stream: /^[\w-]{1,64}$/.test(path) ? path : null,
    text: asked.get("q") ?? "",
    state: Object.hasOwn(STATES, state) ? (state as State) : "all",
  };
}

export function address({ stream, text, state }: Place): string {
  if (stream) return `#/${stream}`;
  const query = new URLSearchParams({ ...(text && { q: text }), ...(state !== "all" && { state }) }).toString();
  return `#/${query && `?${query}`}`;
}
