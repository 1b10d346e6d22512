// A notebook of JupyterLab's, and the way to one of its cells.

import type { JupyterFrontEnd } from "@jupyterlab/application";
import type { ISessionContext } from "@jupyterlab/apputils";
import { URLExt } from "@jupyterlab/coreutils";
import type { DocumentRegistry } from "@jupyterlab/docregistry";
import { ServerConnection } from "@jupyterlab/services";
import type { Entry } from "../../core/listing";
import { multiplexOf, type Multiplex } from "../../core/multiplex";
import { Restorer, type Notebook, type Server } from "./restorer";

/** The page's connection to JupyterLab's server. */
export function multiplexFor(app: JupyterFrontEnd): Multiplex {
  const { baseUrl, token } = app.serviceManager.serverSettings;
  return multiplexOf({ baseUrl, token, outputs: true });
}

/** Another page has this kernel, and saves the notebook itself. */
export async function isOpenElsewhere(app: JupyterFrontEnd, session: ISessionContext): Promise<boolean> {
  const { kernels } = app.serviceManager;
  await session.ready;
  await kernels.refreshRunning();
  const kernel = await kernels.findById(session.session?.kernel?.id ?? "");
  return (kernel?.connections ?? 0) > 1;
}

/** Put back what the notebook, just read from disk, has lost. */
export async function keep(app: JupyterFrontEnd, context: DocumentRegistry.Context): Promise<void> {
  if (context.isDisposed || context.model.collaborative) return; // shared documents live on without the page
  const { serverSettings: settings, sessions } = app.serviceManager;
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
    source: (stream) => multiplexFor(app).source(stream),
    isOpenElsewhere: () => isOpenElsewhere(app, context.sessionContext),
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

/** Show the stream's cell; where it has none, the stream in the monitor page. */
export async function show(app: JupyterFrontEnd, { stream, path, cell }: Entry): Promise<void> {
  if (path === null) {
    window.open(URLExt.join(app.serviceManager.serverSettings.baseUrl, `jupyter-sse/#/${stream}`), "_blank", "noopener");
    return;
  }
  const opened: unknown = await app.commands.execute("docmanager:open", { path });
  const panel = opened as { context?: DocumentRegistry.Context; setFragment?: (fragment: string) => void } | undefined;
  await panel?.context?.ready;
  if (cell !== null) panel?.setFragment?.(`#cell-id=${cell}`);
}
