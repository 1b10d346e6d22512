// The event stream over a WebSocket, for pages that are to leave the browser's few HTTP connections alone.

import { Connection } from "./connection";

/** The code of the problem that WebSockets do not get through to a server that answers otherwise. */
export const NO_WEBSOCKET = "no_websocket";

const UPGRADE_REQUIRED = 426;
// Codes of RFC 6455 by which a server says that what it was sent is wrong: sent again, it would be as wrong.
const REFUSALS = new Set([1003, 1007, 1008, 1009]);
// One failed handshake may be a server that was just starting: so soon after, it answers the question what was wrong.
const HANDSHAKES = 2;

/** As an `SSEConsumer`; `body` is the first message. */
export class SocketConsumer extends Connection {
  #socket: WebSocket | null = null;
  #unheard = 0; // handshakes in a row after which nothing was heard, though the server was there

  /** False if there is no connection now. */
  send(message: string): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(message);
    return true;
  }

  protected async attempt(signal: AbortSignal): Promise<number | null> {
    const closed = await this.#converse(signal);
    if (signal.aborted || !closed) return 0;
    if (closed === "ended") return null;
    if (closed === "unheard") return this.#ask(signal);
    if (!REFUSALS.has(closed.code)) return 0;
    const message = closed.reason || `The server closed the WebSocket with code ${closed.code}.`;
    this.fail({ message, code: "refused", retryable: false });
    return null;
  }

  /** One WebSocket, to its close. */
  #converse(signal: AbortSignal): Promise<CloseEvent | "ended" | "unheard" | null> {
    return new Promise((resolve) => {
      let take: ((text: string) => boolean) | null = null;
      let heard = false;
      let socket: WebSocket;
      try {
        socket = new WebSocket(this.url.replace(/^http/, "ws"));
      } catch {
        resolve("unheard"); // the page's own rules forbid it
        return;
      }
      this.#socket = socket;
      socket.onopen = () => {
        if (signal.aborted) return;
        const { body } = this;
        if (body !== undefined) socket.send(body);
        take = this.opened(signal);
      };
      socket.onmessage = ({ data }) => {
        if (!heard) this.#unheard = 0;
        heard = true;
        if (take?.(String(data))) resolve("ended");
      };
      socket.onclose = (event) => resolve(heard ? event : "unheard");
      signal.addEventListener(
        "abort",
        () => {
          if (this.#socket === socket) this.#socket = null;
          socket.close();
          resolve(null); // the close of a connection that is dead may take minutes
        },
        { once: true },
      );
    });
  }

  /** Why was there no conversation? A browser does not say; the same address asked over HTTP does. */
  async #ask(signal: AbortSignal): Promise<number | null> {
    const answer = await this.fetch(this.url, { headers: this.headers, signal });
    if (answer.status !== UPGRADE_REQUIRED) return this.refused(answer, signal);
    this.#unheard += 1;
    if (this.#unheard < HANDSHAKES) return 0;
    this.fail({ message: "WebSockets do not get through to the server.", code: NO_WEBSOCKET, retryable: false });
    return null;
  }
}
