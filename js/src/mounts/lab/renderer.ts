// A stream as an output of JupyterLab's, with no need of the kernel.

import type { JupyterFrontEnd } from "@jupyterlab/application";
import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import type { Message } from "@lumino/messaging";
import { Widget } from "@lumino/widgets";
import { chatOf } from "../../core/conversation";
import { isElsewhere } from "../../core/multiplex";
import { ChatOutput } from "./chat";
import { multiplexFor } from "./notebooks";
import { isBundle, MIME, StreamOutput } from "./output";

const WIDGET = "application/vnd.jupyter.widget-view+json";

export class StreamRenderer extends Widget implements IRenderMime.IRenderer {
  #app: JupyterFrontEnd;
  #output: StreamOutput;
  #chat: ChatOutput | null = null;
  #widget: IRenderMime.IRenderer | null = null;
  #text = document.createElement("pre");
  #stop: () => void = () => undefined;
  #isSlim = false;

  constructor(app: JupyterFrontEnd) {
    super();
    this.#app = app;
    this.#output = new StreamOutput(
      this.node,
      (stream) => multiplexFor(app).source(stream),
      (stream) => multiplexFor(app).history(stream),
    );
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const chat = chatOf(model.data[MIME]);
    if (chat && this.#chat?.chat === chat.chat) {
      this.#chat.update(model, chat);
      return;
    }
    this.#chat?.dispose();
    this.#chat = null;
    this.#stop();
    if (chat) {
      this.#output.dispose();
      this.#clear();
      this.#chat = new ChatOutput(this.#app, this.node, model, chat);
      if (this.isAttached) this.#chat.attached();
      return;
    }
    if ((model.metadata[MIME] as { transport?: string } | undefined)?.transport === "comm") {
      if (!(await this.#showWidget(model))) this.#showText(model);
      return;
    }
    this.#clear();
    this.#isSlim = isBundle(model.data[MIME]) && model.data[MIME].slim === true;
    this.#putFirst();
    const source = this.#output.show(model.data[MIME]);
    if (!source) {
      this.#showText(model);
      return;
    }
    this.#stop = source.subscribe(() => {
      if (isElsewhere(source)) void this.#showWidget(model);
    });
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.#chat?.attached();
    this.#putFirst();
  }

  /** What is said of the whole cell stands above what the cell says. */
  #putFirst(): void {
    const output = this.node.closest(".jp-OutputArea-child");
    output?.classList.toggle("jsse-first", this.#isSlim);
    if (this.#isSlim) output?.parentElement?.classList.add("jsse-ordered");
  }

  override dispose(): void {
    this.#stop();
    this.#chat?.dispose();
    this.#chat = null;
    this.#output.dispose();
    this.#clear();
    super.dispose();
  }

  /** The kernel's own channel, where it has a widget for us and the server does not have the stream. */
  async #showWidget(model: IRenderMime.IMimeModel): Promise<boolean> {
    if (!model.trusted || !(WIDGET in model.data) || this.isDisposed) return false;
    if (this.#widget) return true;
    for (const { content } of this.#app.shell.widgets("main") as Iterable<{ content?: Partial<Rendering> }>) {
      if (!content?.node?.contains(this.node) || !content.rendermime?.getFactory(WIDGET)) continue;
      this.#stop();
      this.#output.dispose();
      this.#clear();
      this.#widget = content.rendermime.createRenderer(WIDGET);
      Widget.attach(this.#widget, this.node);
      await this.#widget.renderModel(model);
      return true;
    }
    return false;
  }

  #showText(model: IRenderMime.IMimeModel): void {
    this.#clear();
    this.#text.textContent = String(model.data["text/plain"] ?? "");
    this.node.append(this.#text);
  }

  /** Take away what stands in for the stream's own view. */
  #clear(): void {
    this.#text.remove();
    this.#widget?.dispose();
    this.#widget = null;
  }
}

/** A notebook or console: its registry knows its widgets. */
interface Rendering {
  node: HTMLElement;
  rendermime: IRenderMimeRegistry;
}
