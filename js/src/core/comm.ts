// A stream that comes over the widget's own channel to the kernel, where there is no server to ask.

import type { Snapshot, StreamEvent } from "./events";
import type { Kept } from "./tape";
import { StreamStore, type CancelAnswer } from "./source";

/** What of an anywidget model is used here. */
export interface CommModel {
  send(content: unknown): void;
  on(event: "msg:custom", listener: (content: unknown) => void): void;
}

type FromKernel =
  | { op: "events"; seq: number; events: StreamEvent[] }
  | { op: "reset"; seq: number; snapshot: Snapshot; sound?: Kept };

/** Listens from the moment it is made: a kernel that is busy sends, but does not hear. */
export class CommStore extends StreamStore {
  #model: CommModel;
  #asked = false; // a busy kernel answers late: asking it again would only have it answer twice

  constructor(stream: string, model: CommModel) {
    super(stream);
    this.#model = model;
    model.on("msg:custom", (content) => this.#take(content as FromKernel));
  }

  /** Ask the kernel for what is missing. */
  ready(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#model.send({ op: "ready", after: this.snapshot.seq || -1 });
  }

  cancel(): Promise<CancelAnswer> {
    this.#model.send({ op: "cancel" });
    return Promise.resolve({
      via: "producer",
      message: "The kernel was asked to stop. While it is busy it may not hear: then interrupt it.",
    });
  }

  protected watched(on: boolean): void {
    if (on) this.ready();
  }

  #take(message: FromKernel): void {
    if (message?.op === "reset") {
      this.#asked = false;
      if (message.snapshot.seq >= this.snapshot.seq) this.reset(message.snapshot, undefined, message.sound);
    } else if (message?.op === "events") {
      if (message.seq > this.snapshot.seq + 1) {
        this.ready();
        return;
      }
      this.#asked = false;
      message.events.forEach((event, index) => this.push(message.seq + index, event));
    } else {
      return;
    }
    this.setState("open");
  }
}
