// Places among the event streams of a browser, which all its tabs share.

// A browser opens six connections to a host over HTTP/1.1, whatever the number of its tabs, and a seventh request of any
// kind waits: were each tab to keep one for its event stream, the sixth would stop JupyterLab itself. Two leave four for
// everything else.
const NAMES = ["jupyter-sse:events:1", "jupyter-sse:events:2"];

/**
 * Take one of the places; how to give it back, or null if there is none.
 *
 * A browser without Web Locks, or a page to which it denies them (any that is not secure: plain http from another host),
 * cannot count, and has none: a WebSocket does as well, and does no harm to other tabs.
 */
export async function takeSlot(): Promise<(() => void) | null> {
  const locks = globalThis.navigator?.locks as LockManager | undefined;
  if (!locks) return null;
  for (const name of NAMES) {
    const release = await new Promise<(() => void) | null>((resolve) => {
      locks
        .request(name, { ifAvailable: true }, (lock) => {
          if (lock) return new Promise<void>((done) => resolve(done)); // held until then, or until the page goes
          resolve(null);
          return undefined;
        })
        .catch(() => resolve(null));
    });
    if (release) return release;
  }
  return null;
}
