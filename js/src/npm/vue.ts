// `jupyter-sse/vue`

import { computed, onScopeDispose, shallowRef, toValue, watch, type ComputedRef, type MaybeRefOrGetter } from "vue";
import { Watched, type StreamControls, type StreamState, type UseStreamOptions } from "./stream";

export type { CancelAnswer, Problem, Snapshot, StreamControls, StreamState, StreamStatus, UseStreamOptions } from "./stream";

export type StreamRefs = { [Name in keyof StreamState]: ComputedRef<StreamState[Name]> };

/** Follow the event stream at a URL until the component is unmounted; another URL is another stream, and null none. */
export function useStream(
  url: MaybeRefOrGetter<string | null | undefined>,
  options: UseStreamOptions = {},
): StreamRefs & StreamControls {
  let watched = new Watched(null, options);
  const state = shallowRef(watched.read());
  let leave = (): void => undefined;
  watch(
    () => toValue(url),
    (url) => {
      leave();
      watched = new Watched(url, options);
      const { read } = watched;
      state.value = read();
      // On a server that renders pages nobody would ever leave.
      if (typeof document !== "undefined") leave = watched.subscribe(() => (state.value = read()));
    },
    { immediate: true },
  );
  onScopeDispose(() => leave());
  return {
    snapshot: computed(() => state.value.snapshot),
    text: computed(() => state.value.text),
    status: computed(() => state.value.status),
    problem: computed(() => state.value.problem),
    cancel: () => watched.cancel(),
    retry: () => watched.retry(),
  };
}
