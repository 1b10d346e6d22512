// An event stream read with fetch: what EventSource does, and POST, headers, back-off with jitter, and liveness.

import { Connection, type ConnectionOptions } from "./connection";
import { absolute, isHere } from "./page";

export type { AnyEvent, ConnectionState, Message, Problem } from "./connection";

/** The code of the problem that an event stream does not arrive while it is sent. */
export const NO_STREAMING = "no_streaming";

export interface SSEConsumerOptions extends ConnectionOptions {
  /** POST, if there is a body. */
  method?: "GET" | "POST";
  /**
   * How the server is told what is had already: by the header `Last-Event-ID`, or in the URL as `?after=`, which jupyter_sse
   * understands. Another origin's server must allow the header, so without headers of your own `query` is taken there.
   */
  resume?: "header" | "query";
  /** How long the first byte of a connection may take: a proxy that buffers holds it back. Without a limit, for ever. */
  firstByteMs?: number;
}

/** Follows an event stream to its end, over as many connections as it takes. */
export class SSEConsumer extends Connection<SSEConsumerOptions> {
  constructor(url: string, options: SSEConsumerOptions = {}) {
    super(url, options);
  }

  protected async attempt(signal: AbortSignal): Promise<number | null> {
    const connection = new AbortController();
    signal.addEventListener("abort", () => connection.abort(), { once: true });
    const { firstByteMs = Infinity } = this.options;
    // In two parts: a page that was busy all the while gets to read what has come before the second is over.
    let timer =
      firstByteMs < Infinity
        ? setTimeout(() => (timer = setTimeout(() => connection.abort(), firstByteMs / 10)), firstByteMs * 0.9)
        : undefined;
    try {
      return await this.#converse(connection.signal, () => clearTimeout(timer));
    } catch (error) {
      if (signal.aborted || !connection.signal.aborted) throw error;
      return this.#unstreamed("The server's answer does not arrive: a proxy may hold it back.");
    } finally {
      clearTimeout(timer);
    }
  }

  #unstreamed(message: string): null {
    this.fail({ message, code: NO_STREAMING, retryable: false });
    return null;
  }

  async #converse(signal: AbortSignal, heard: () => void): Promise<number | null> {
    const { body, headers: own } = this;
    const headers: Record<string, string> = { Accept: "text/event-stream", ...own };
    let { url } = this;
    if (this.lastEventId && !this.options.multiplexed) {
      if (this.#resume(own) === "header") headers["Last-Event-ID"] = this.lastEventId;
      else url = withAfter(url, this.lastEventId);
    }
    const answer = await this.fetch(url, {
      method: this.options.method ?? (body === undefined ? "GET" : "POST"),
      headers,
      signal,
      ...(body === undefined ? {} : { body }),
    });
    if (answer.status === 204) return null;
    if (!answer.ok || !/^text\/event-stream\b/i.test(answer.headers.get("Content-Type") ?? "")) {
      heard();
      return this.refused(answer, signal);
    }
    if (!answer.body) return this.#unstreamed("This browser cannot read an answer while it is sent.");
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // the parser takes it away, and only one
    const reader = answer.body.getReader();
    const take = this.opened(signal);
    while (!signal.aborted) {
      const { done, value } = await reader.read();
      if (done) break;
      heard();
      if (take(decoder.decode(value, { stream: true }))) return null;
    }
    return 0;
  }

  // A header that has to be allowed costs a request more, and where it is not allowed, nothing would ever be resumed. With
  // headers of its own a request is asked about anyway.
  #resume(own: Record<string, string>): "header" | "query" {
    return this.options.resume ?? (isHere(this.url) || Object.keys(own).length ? "header" : "query");
  }
}

function withAfter(given: string, id: string): string {
  const url = absolute(given);
  url.searchParams.delete("snapshot"); // it would begin with all that is had
  url.searchParams.set("after", id);
  return url.href;
}
