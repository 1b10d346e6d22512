// The JupyterLab extension: shows outputs with a stream, with no need of the kernel. Wiring only.

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { URLExt } from "@jupyterlab/coreutils";
import type { DocumentRegistry } from "@jupyterlab/docregistry";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { IRenderMime } from "@jupyterlab/rendermime-interfaces";
import { ServerConnection } from "@jupyterlab/services";
import { Widget } from "@lumino/widgets";
import { ELSEWHERE, multiplexOf } from "../../core/multiplex";
import { MIME, StreamOutput } from "./output";
import { Restorer, type Entry, type Notebook, type Server } from "./restorer";

const WIDGET = "application/vnd.jupyter.widget-view+json";
const RANK = -20; // before the widget's view of the same output

class StreamRenderer extends Widget implements IRenderMime.IRenderer {
  #app: JupyterFrontEnd;
  #output: StreamOutput;
  #widget: IRenderMime.IRenderer | null = null;
  #text = document.createElement("pre");
  #stop: () => void = () => undefined;

  constructor(app: JupyterFrontEnd) {
    super();
    this.#app = app;
    const { baseUrl, token } = app.serviceManager.serverSettings;
    this.#output = new StreamOutput(this.node, (stream) => multiplexOf({ baseUrl, token }).source(stream));
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.#stop();
    if ((model.metadata[MIME] as { transport?: string } | undefined)?.transport === "comm") {
      if (!(await this.#showWidget(model))) this.#showText(model);
      return;
    }
    this.#clear();
    const source = this.#output.show(model.data[MIME]);
    if (!source) {
      this.#showText(model);
      return;
    }
    this.#stop = source.subscribe(() => {
      if (source.state !== "failed" || !ELSEWHERE.has(source.problem?.code ?? "")) return;
      void this.#showWidget(model);
    });
  }

  override dispose(): void {
    this.#stop();
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

const outputs: JupyterFrontEndPlugin<void> = {
  id: "jupyter-sse:outputs",
  description: "Shows streams in outputs.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (app: JupyterFrontEnd, rendermime: IRenderMimeRegistry) => {
    rendermime.addFactory(
      { safe: true, mimeTypes: [MIME], createRenderer: () => new StreamRenderer(app) },
      RANK,
    );
  },
};

const restorer: JupyterFrontEndPlugin<void> = {
  id: "jupyter-sse:restorer",
  description: "Puts back outputs with streams that a reload took.",
  autoStart: true,
  activate: (app: JupyterFrontEnd) => {
    app.docRegistry.addWidgetExtension("Notebook", {
      createNew: (_, context) => {
        context.ready.then(() => keep(app, context)).catch((error) => console.warn("jupyter-sse: nothing restored", error));
      },
    });
  },
};

async function keep(app: JupyterFrontEnd, context: DocumentRegistry.Context): Promise<void> {
  if (context.isDisposed || context.model.collaborative) return; // shared documents live on without the page
  const { serverSettings: settings, kernels, sessions } = app.serviceManager;
  const request = (path: string, init: RequestInit = {}): Promise<Response> =>
    ServerConnection.makeRequest(URLExt.join(settings.baseUrl, "jupyter-sse", path), init, settings);
  const list = async (query: Record<string, string>): Promise<Entry[]> => {
    const answer = await request(`streams${URLExt.objectToQueryString(query)}`);
    return answer.ok ? ((await answer.json()) as Entry[]) : [];
  };
  const server: Server = {
    output: async (stream) => {
      const answer = await request(`streams/${stream}/output`);
      return answer.ok ? ((await answer.json()) as Record<string, unknown>) : null;
    },
    dismiss: (stream) => void request(`streams/${stream}/output`, { method: "DELETE", keepalive: true }).catch(() => undefined),
    source: (stream) => multiplexOf({ baseUrl: settings.baseUrl, token: settings.token }).source(stream),
    isOpenElsewhere: async () => {
      await context.sessionContext.ready;
      await kernels.refreshRunning();
      const kernel = await kernels.findById(context.sessionContext.session?.kernel?.id ?? "");
      return (kernel?.connections ?? 0) > 1;
    },
  };
  const restorer = new Restorer(context.model as unknown as Notebook, server);
  context.disposed.connect(() => restorer.dispose());
  const saved = Date.parse(context.contentsModel?.last_modified ?? "") / 1000;
  const session = await sessions.findByPath(context.path);
  // A kernel knows the notebook by the name that it had when the kernel started.
  const found = await Promise.all([
    list({ path: context.localPath }),
    ...(session?.kernel ? [list({ kernel: session.kernel.id })] : []),
  ]);
  const entries = new Map(found.flat().map((entry) => [entry.stream, entry]));
  await restorer.restore([...entries.values()].sort((a, b) => b.created - a.created), saved);
}

export default [outputs, restorer];
