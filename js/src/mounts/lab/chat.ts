// A chat as an output of JupyterLab's: from the document and the server, and with the kernel that has it, if one has.

import type { JupyterFrontEnd } from "@jupyterlab/application";
import type { ISessionContext } from "@jupyterlab/apputils";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import type { Kernel } from "@jupyterlab/services";
import { chatOf, Conversation, conversationOf, type ChatBundle } from "../../core/conversation";
import { mountChat } from "../../view/chat";
import { isOpenElsewhere, multiplexFor } from "./notebooks";
import { MIME } from "./output";

const TARGET = "jupyter_sse.chat";
const GONE = new Set(["restarting", "autorestarting", "terminating", "dead"]);

/** A notebook or console. */
interface Document {
  content?: { node?: HTMLElement };
  context?: { localPath: string; model: { dirty: boolean; collaborative?: boolean } };
  sessionContext?: ISessionContext;
}

export class ChatOutput {
  readonly chat: string;
  #app: JupyterFrontEnd;
  #node: HTMLElement;
  #model: IRenderMime.IMimeModel;
  #bundle: ChatBundle;
  #conversation: Conversation;
  #release: () => void;
  #unmount: () => void;
  #stops: (() => void)[] = [];
  #document: { dirty: boolean; collaborative?: boolean } | null = null;
  #session: ISessionContext | null = null;
  #kernel: Kernel.IKernelConnection | null = null;
  #detach: () => void = () => undefined;
  #rev: number; // what the document has
  #writing = false;

  constructor(app: JupyterFrontEnd, node: HTMLElement, model: IRenderMime.IMimeModel, bundle: ChatBundle) {
    this.chat = bundle.chat;
    this.#app = app;
    this.#node = node;
    this.#model = model;
    this.#bundle = bundle;
    this.#rev = bundle.rev;
    const isAlone = (model.metadata[MIME] as { transport?: string } | undefined)?.transport === "comm";
    const { conversation, release } = conversationOf(
      bundle.chat,
      () => new Conversation(bundle.chat, bundle, isAlone ? null : multiplexFor(app)),
    );
    this.#conversation = conversation;
    this.#release = release;
    this.#unmount = mountChat(node, conversation);
    this.#stops.push(
      conversation.onOutput((data) => void this.#write(data)),
      conversation.subscribe(() => void this.#keep()),
    );
  }

  /** The document has another state of the same chat: its kernel's, or what was written here. */
  update(model: IRenderMime.IMimeModel, bundle: ChatBundle): void {
    this.#model = model;
    this.#bundle = bundle;
    this.#rev = bundle.rev;
    this.#conversation.adopt(bundle);
  }

  /** It is in the page: which notebook it is in, and so which kernel, can be found. */
  attached(): void {
    if (this.#session) return;
    for (const widget of this.#app.shell.widgets("main") as Iterable<Document>) {
      if (!widget.content?.node?.contains(this.#node) || !widget.sessionContext) continue;
      this.#conversation.path = widget.context?.localPath ?? null;
      this.#document = widget.context?.model ?? null;
      this.#session = widget.sessionContext;
      this.#session.kernelChanged.connect(this.#look, this);
      this.#session.statusChanged.connect(this.#look, this);
      this.#look();
    }
  }

  dispose(): void {
    this.#session?.kernelChanged.disconnect(this.#look, this);
    this.#session?.statusChanged.disconnect(this.#look, this);
    this.#detach();
    for (const stop of this.#stops) stop();
    this.#unmount();
    this.#release();
  }

  /** Open the chat in the kernel that has it; once, because one that was started anew has it no more. */
  #look(): void {
    const kernel = this.#session?.session?.kernel ?? null;
    if (this.#kernel && (kernel !== this.#kernel || GONE.has(kernel.status))) {
      this.#detach();
      this.#detach = () => undefined;
    }
    if (!kernel || kernel === this.#kernel || GONE.has(kernel.status)) return;
    this.#kernel = kernel;
    if (this.#bundle.kernel !== null && this.#bundle.kernel !== kernel.id) return;
    const comm = kernel.createComm(TARGET);
    const listeners = new Set<(content: unknown) => void>();
    comm.onMsg = ({ content }) => {
      for (const listener of [...listeners]) listener(content.data);
    };
    comm.open({ chat: this.chat });
    const detach = this.#conversation.attach({
      send: (content) => {
        if (!comm.isDisposed) comm.send(content as never);
      },
      on: (_, listener) => void listeners.add(listener),
    });
    comm.onClose = detach;
    this.#detach = () => {
      detach();
      if (comm.isDisposed) return;
      comm.onClose = () => undefined;
      if (!GONE.has(kernel.status) && !kernel.isDisposed) void comm.close();
    };
  }

  /** Where no kernel does, have the document hold what was said. */
  async #keep(): Promise<void> {
    const { state, isBound } = this.#conversation;
    if (isBound || this.#writing || state.rev <= this.#rev) return;
    this.#writing = true;
    try {
      const { chat, kernel } = this.#bundle;
      await this.#write(await multiplexFor(this.#app).chatOutput({ ...state, chat, kernel }));
    } catch (problem) {
      console.warn("jupyter-sse: the chat is not in the notebook yet", problem);
      this.#rev = state.rev; // with the next change
    }
    this.#writing = false;
    void this.#keep(); // what has come meanwhile
  }

  async #write(data: Record<string, unknown>): Promise<void> {
    const bundle = chatOf(data[MIME]);
    const standing = chatOf(this.#model.data[MIME]);
    if (!bundle || bundle.chat !== standing?.chat || this.#document?.collaborative) return;
    this.#rev = bundle.rev;
    if (JSON.stringify(bundle) === JSON.stringify(standing)) return; // the kernel's own update has come
    const isClean = this.#document?.dirty === false;
    this.#model.setData({ data: data as never });
    // Two pages that save one file would only ask their users which of the two is right: the one that is used does.
    if (!isClean || this.#conversation.isUsed || !this.#session || !(await isOpenElsewhere(this.#app, this.#session))) return;
    if (this.#document && !this.#conversation.isUsed) this.#document.dirty = false;
  }
}
