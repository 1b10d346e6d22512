// An event stream read with fetch: what EventSource does, and POST, headers, back-off with jitter, and liveness.

import { Connection, type ConnectionOptions } from "./connection";

export type { AnyEvent, ConnectionState, Problem } from "./connection";

export interface SSEConsumerOptions extends ConnectionOptions {
  method?: "GET" | "POST";
}

/** Follows an event stream to its end, over as many connections as it takes. */
export class SSEConsumer extends Connection<SSEConsumerOptions> {
  constructor(url: string, options: SSEConsumerOptions = {}) {
    super(url, options);
  }

  protected async attempt(signal: AbortSignal): Promise<number | null> {
    const { body } = this;
    const headers: Record<string, string> = { Accept: "text/event-stream", ...this.headers };
    if (this.lastEventId && !this.options.multiplexed) headers["Last-Event-ID"] = this.lastEventId;
    const answer = await this.fetch({
      method: this.options.method ?? "GET",
      headers,
      signal,
      ...(body === undefined ? {} : { body }),
    });
    if (answer.status === 204) return null;
    if (!answer.ok || !answer.headers.get("Content-Type")?.startsWith("text/event-stream")) return this.refused(answer);
    return this.#read(answer, signal);
  }

  async #read(answer: Response, signal: AbortSignal): Promise<number | null> {
    if (!answer.body) return 0;
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    const take = this.opened(signal);
    while (!signal.aborted) {
      const { done, value } = await reader.read();
      if (done) break;
      if (take(decoder.decode(value, { stream: true }))) return null;
    }
    return 0;
  }
}
