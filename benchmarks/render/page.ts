// The page that is measured: each renderer as its users have it, given ever longer text.

import { EditorLanguageRegistry } from "@jupyterlab/codemirror";
import { createMarkdownParser } from "@jupyterlab/markedparser-extension";
import { MimeModel, RenderMimeRegistry, standardRendererFactories } from "@jupyterlab/rendermime";
import { createElement } from "react";
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import ReactMarkdown from "react-markdown";
import remarkGfm from "remark-gfm";
import { Streamdown } from "streamdown";
import highlight from "../../js/src/extras/highlight";
import math from "../../js/src/extras/math";
import { Answer } from "../../js/src/view/answer";
import { h, styleSheet } from "../../js/src/view/dom";
import { load, provide } from "../../js/src/view/extras";
import { MarkdownView } from "../../js/src/view/markdown";
import styles from "../../js/src/view/style.css";

type Render = (text: string) => void | Promise<void>;

provide((name) => Promise.resolve(name === "math" ? math : highlight));

/** What Jupyter AI does: a new model for every update, drawn anew by JupyterLab's own renderer. */
function rendermime(el: HTMLElement): Render {
  const languages = new EditorLanguageRegistry();
  for (const language of EditorLanguageRegistry.getDefaultLanguages()) languages.addLanguage(language);
  const registry = new RenderMimeRegistry({
    initialFactories: standardRendererFactories,
    markdownParser: createMarkdownParser(languages),
  });
  const renderer = registry.createRenderer("text/markdown");
  el.append(renderer.node);
  return (text) => renderer.renderModel(new MimeModel({ data: { "text/markdown": text }, trusted: false }));
}

function react(element: (text: string) => ReturnType<typeof createElement>): (el: HTMLElement) => Render {
  return (el) => {
    const root = createRoot(el);
    return (text) => flushSync(() => root.render(element(text)));
  };
}

const RENDERERS: Record<string, (el: HTMLElement) => Render> = {
  nothing: () => () => undefined,
  jupyter_sse: (el) => {
    const view = new MarkdownView(el);
    return (text) => view.set(text);
  },
  "jupyter_sse, typed": (el) => {
    const answer = new Answer();
    el.append(answer.element);
    return (text) => answer.update({ text, status: "running" });
  },
  rendermime,
  "react-markdown": react((text) => createElement(ReactMarkdown, { remarkPlugins: [remarkGfm] }, text)),
  streamdown: react((text) => createElement(Streamdown, null, text)),
};

const frame = (): Promise<number> => new Promise((resolve) => requestAnimationFrame(resolve));

let render: Render;
let tokens: string[] = [];
let text = "";
let given = 0;

/** A renderer with so many tokens shown. */
async function start(name: string, source: string[], shown: number): Promise<void> {
  await Promise.all([load("math"), load("highlight")]);
  document.getElementById("answer")?.remove();
  const el = h("div", { id: "answer", class: "jsse jsse-answer" });
  document.body.append(el);
  render = (RENDERERS[name] as (el: HTMLElement) => Render)(el);
  tokens = source;
  text = tokens.slice(0, (given = shown)).join("");
  if (text) await render(text);
  for (let i = 0; i < 10; i++) await frame();
}

/** So many tokens more, each drawn before the next. */
async function add(count: number): Promise<void> {
  for (const end = given + count; given < end; given++) {
    text += tokens[given];
    await render(text);
    await frame();
    await frame();
  }
}

/** All tokens at a rate, drawn at most once a frame; how many frames there were and should have been. */
async function stream(perSecond: number): Promise<{ frames: number; dropped: number }> {
  const started = await frame();
  let last = started;
  let [frames, dropped] = [0, 0];
  let busy: Promise<void> | void;
  let idle = true;
  while (given < tokens.length) {
    const now = await frame();
    frames += 1;
    dropped += Math.max(0, Math.round(((now - last) * 60) / 1000) - 1);
    last = now;
    const due = Math.min(tokens.length, Math.floor(((now - started) * perSecond) / 1000));
    if (due === given || !idle) continue;
    for (; given < due; given++) text += tokens[given];
    busy = render(text);
    if (busy) {
      idle = false;
      void busy.then(() => (idle = true));
    }
  }
  return { frames: frames + dropped, dropped };
}

document.head.append(styleSheet(styles));
Object.assign(window, { bench: { start, add, stream } });
