// The anywidget: one model a stream or a chat, any number of views. Wiring only.

import { CommStore, type CommModel } from "../core/comm";
import { Conversation, conversationOf, emptyState } from "../core/conversation";
import { isElsewhere, multiplexOf, type ServerConfig } from "../core/multiplex";
import { SlimSource, type StreamSource } from "../core/source";
import { mountChat } from "../view/chat";
import { provide } from "../view/extras";
import { mount } from "../view/mount";
import { fromFolder, fromKernel } from "./extras";

interface Model extends CommModel {
  get(name: "stream" | "chat" | "transport" | "beside"): string;
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

/** The server that this widget's streams are at, as far as the page can reach it. */
function serverOf(model: Model): ServerConfig | null {
  return model.get("transport") === "server" ? serverConfig() : null;
}

/** What its views may need more than is in here. */
function provideExtras(model: Model): () => void {
  const server = serverOf(model);
  return provide(...(server ? [fromFolder(`${server.baseUrl}static/jupyter_sse/`)] : []), fromKernel(model));
}

function chat(model: Model): { conversation: Conversation; release: () => void } {
  const id = model.get("chat");
  const make = (): Conversation => {
    const server = serverOf(model);
    return new Conversation(id, emptyState(), server && multiplexOf(server));
  };
  return conversationOf(id, make);
}

function initialize({ model, signal }: { model: Model; signal?: AbortSignal }): void {
  if (model.get("chat")) {
    const { conversation, release } = chat(model);
    const detach = conversation.attach(model);
    signal?.addEventListener(
      "abort",
      () => {
        detach();
        release();
      },
      { once: true },
    );
    return;
  }
  // At once and without waiting: what the kernel sends before the first view is drawn reaches only this.
  comms.set(model, new CommStore(model.get("stream"), model));
}

function render({ model, el, signal }: { model: Model; el: HTMLElement; signal?: AbortSignal }): () => void {
  if (model.get("chat")) return renderChat({ model, el, ...(signal && { signal }) });
  const stream = model.get("stream");
  const server = serverOf(model);
  const comm = (): CommStore => {
    let store = comms.get(model);
    if (!store) comms.set(model, (store = new CommStore(stream, model)));
    return store;
  };
  const takeBack = provideExtras(model);
  let unmount = (): void => undefined;
  let stop = (): void => undefined;
  const show = (source: StreamSource): void => {
    unmount();
    unmount = mount(el, { source: model.get("beside") ? new SlimSource(source) : source });
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

function renderChat({ model, el, signal }: { model: Model; el: HTMLElement; signal?: AbortSignal }): () => void {
  const { conversation, release } = chat(model);
  const takeBack = provideExtras(model);
  const unmount = mountChat(el, conversation);
  const dispose = (): void => {
    unmount();
    release();
    takeBack();
  };
  signal?.addEventListener("abort", dispose, { once: true });
  return dispose;
}

export default { initialize, render };
