// The anywidget: one model a stream, any number of views. Wiring only.

import { CommStore, type CommModel } from "../core/comm";
import { isElsewhere, multiplexOf, type ServerConfig } from "../core/multiplex";
import type { StreamSource } from "../core/source";
import { provide } from "../view/extras";
import { mount } from "../view/mount";
import { fromFolder, fromKernel } from "./extras";

interface Model extends CommModel {
  get(name: "stream" | "transport"): string;
}

/** What JupyterLab and Notebook tell their own scripts about the server. */
function serverConfig(): ServerConfig | null {
  const element = document.getElementById("jupyter-config-data");
  try {
    const config = JSON.parse(element?.textContent ?? "") as { baseUrl?: string; token?: string };
    if (!config.baseUrl) return null;
    return { baseUrl: new URL(config.baseUrl, location.href).href.replace(/\/?$/, "/"), token: config.token ?? "" };
  } catch {
    return null;
  }
}

const comms = new WeakMap<Model, CommStore>();

function initialize({ model }: { model: Model }): void {
  // At once and without waiting: what the kernel sends before the first view is drawn reaches only this.
  comms.set(model, new CommStore(model.get("stream"), model));
}

function render({ model, el, signal }: { model: Model; el: HTMLElement; signal?: AbortSignal }): () => void {
  const stream = model.get("stream");
  const server = model.get("transport") === "server" ? serverConfig() : null;
  const comm = (): CommStore => {
    let store = comms.get(model);
    if (!store) comms.set(model, (store = new CommStore(stream, model)));
    return store;
  };
  const takeBack = provide(...(server ? [fromFolder(`${server.baseUrl}static/jupyter_sse/`)] : []), fromKernel(model));
  let unmount = (): void => undefined;
  let stop = (): void => undefined;
  const show = (source: StreamSource): void => {
    unmount();
    unmount = mount(el, { source });
  };
  const source = server && multiplexOf(server).source(stream);
  // The page may know already: in JupyterLab it is its own view that makes this one, when the server has not got the stream.
  if (source && !isElsewhere(source)) {
    show(source);
    stop = source.subscribe(() => {
      if (!isElsewhere(source)) return;
      stop();
      show(comm());
    });
  } else {
    show(comm());
  }
  const dispose = (): void => {
    stop();
    unmount();
    takeBack();
  };
  signal?.addEventListener("abort", dispose, { once: true });
  return dispose;
}

export default { initialize, render };
