// `jupyter-sse/react`

import { useEffect, useMemo, useSyncExternalStore } from "react";
import { Watched, type StreamControls, type StreamState, type UseStreamOptions } from "./stream";

export type { CancelAnswer, Problem, Snapshot, StreamControls, StreamState, StreamStatus, UseStreamOptions } from "./stream";

/**
 * Follow the event stream at a URL while the component is mounted; another URL is another stream, and null none. The
 * callbacks are those of the last render.
 */
export function useStream(url: string | null | undefined, options: UseStreamOptions = {}): StreamState & StreamControls {
  const watched = useMemo(() => new Watched(url, options), [url]);
  useEffect(() => {
    if (watched.source) watched.source.options = options;
  });
  const state = useSyncExternalStore(watched.subscribe, watched.read, watched.read);
  return { ...state, cancel: watched.cancel, retry: watched.retry };
}
