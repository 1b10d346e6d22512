// The monitor page: all streams of a server, and one of them at a time.

import type { Problem } from "../core/connection";
import type { Entry } from "../core/listing";
import type { Multiplex } from "../core/multiplex";
import { h, setAttribute, setText, styleSheet } from "./dom";
import { nameOf, statusWord } from "./format";
import { mount } from "./mount";
import { NotifyButton } from "./notify";
import { address, place, STATES, type Place, type State } from "./place";
import { notebookUrl, Row, type MonitorOptions } from "./row";
import styles from "./monitor.css";
import viewStyles from "./style.css";

const FOLLOWED = 30; // rows whose progress is shown at a time; each costs every event of its stream
const ANNOUNCED = 3; // changes at a time that are told one by one

/** Show the page in an element; returns how to take it away. */
export function mountMonitor(el: HTMLElement, multiplex: Multiplex, options: MonitorOptions): () => void {
  const root = h("div", { class: "jsse jsse-monitor" });
  const list = new List(multiplex, options);
  let shown: { stream: string; element: HTMLElement; dispose: () => void } | null = null;
  let left = 0; // how far down the list was left
  root.append(styleSheet(viewStyles + styles));
  el.append(root);

  const go = (event?: Event): void => {
    const { stream, ...filter } = place(location.hash);
    const from = shown?.stream;
    if (stream && !from) left = window.scrollY;
    if (from !== stream) {
      shown?.dispose();
      shown?.element.remove();
      shown = null;
    }
    if (stream) list.element.remove(); // of each stream there is one view at a time
    else if (!list.element.isConnected) root.append(list.element);
    list.show(filter, stream === null);
    if (stream && !shown) {
      shown = showOne(multiplex, options, stream);
      root.append(shown.element);
      if (event) shown.element.querySelector<HTMLElement>("a")?.focus();
      window.scrollTo(0, 0);
    } else if (from && !stream) {
      window.scrollTo(0, left);
      list.focus(from);
    }
  };
  window.addEventListener("hashchange", go);
  go();
  return () => {
    window.removeEventListener("hashchange", go);
    shown?.dispose();
    list.dispose();
    root.remove();
  };
}

function showOne(
  multiplex: Multiplex,
  options: MonitorOptions,
  stream: string,
): { stream: string; element: HTMLElement; dispose: () => void } {
  const source = multiplex.source(stream);
  const back = h("a", { class: "jsse-back", href: "#/" }, "‹ All streams");
  // Back to the list as it was left, filter and place.
  back.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || history.state !== "opened") return;
    event.preventDefault();
    history.back();
  });
  const notebook = h("a", { class: "jsse-open", target: "_blank", rel: "noopener", hidden: true }, "Open the notebook");
  const view = h("div", { class: "jsse-one" });
  const element = h("main", {}, h("nav", {}, back, notebook), view);
  const unmount = mount(view, { source });
  const update = (): void => {
    const { title, origin } = source.snapshot;
    document.title = title ? `${title} · Streams` : "Stream";
    const url = notebookUrl(options, origin?.path ?? null);
    if (url) notebook.href = url;
    notebook.hidden = !url;
  };
  const leave = source.subscribe(update);
  update();
  return {
    stream,
    element,
    dispose: () => {
      leave();
      unmount();
    },
  };
}

class List {
  readonly element: HTMLElement;
  #multiplex: Multiplex;
  #options: MonitorOptions;
  #rows = new Map<string, Row>();
  #filter: Omit<Place, "stream"> = { text: "", state: "all" };
  #running = h("ul", { class: "jsse-rows", "aria-label": "Running" });
  #ended = h("ul", { class: "jsse-rows", "aria-label": "Ended" });
  #count = h("span", { class: "jsse-state" });
  #connection = h("span", { class: "jsse-connection", role: "status" });
  #trouble = h("div", { class: "jsse-error jsse-trouble", role: "alert", hidden: true });
  #notify: NotifyButton;
  #said = h("div", { class: "jsse-hidden", role: "status", "aria-live": "polite" });
  #search = h("input", { type: "search", class: "jsse-search", placeholder: "Filter", "aria-label": "Filter by title, notebook or kind" });
  #states = h("div", { class: "jsse-states", role: "group", "aria-label": "State" });
  #empty = h("div", { class: "jsse-empty", hidden: true });
  #visible = false;
  #statuses: Map<string, string> | null = null; // as they were told last, once there is a list
  #problem: Problem | null = null;
  #frame = 0;
  #unsubscribe: () => void;
  #clock: ReturnType<typeof setInterval>;
  #seen: IntersectionObserver;

  constructor(multiplex: Multiplex, options: MonitorOptions) {
    this.#multiplex = multiplex;
    this.#options = options;
    this.#notify = new NotifyButton(multiplex.listing, options.notifyAfter);
    for (const [state, word] of Object.entries(STATES)) {
      const button = h("button", { type: "button", "data-state": state }, word);
      button.addEventListener("click", () => this.#ask({ state: state as State }));
      this.#states.append(button);
    }
    this.#search.addEventListener("input", () => this.#ask({ text: this.#search.value }));
    this.element = h(
      "main",
      {},
      h("header", {}, h("h1", {}, "Streams"), this.#count, this.#connection, this.#notify.element),
      this.#notify.note,
      this.#trouble,
      h("div", { class: "jsse-filter", role: "search" }, this.#search, this.#states),
      this.#running,
      this.#ended,
      this.#empty,
      this.#said,
    );
    this.#seen = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        const row = this.#rows.get(target.getAttribute("data-sse-stream") ?? "");
        if (row) row.isSeen = isIntersecting;
      }
      this.#follow();
    });
    this.#unsubscribe = multiplex.listing.subscribe(() => this.#drawSoon());
    this.#clock = setInterval(() => this.#tick(), 1000);
  }

  show(filter: Omit<Place, "stream">, visible: boolean): void {
    this.#visible = visible;
    if (visible) {
      this.#filter = filter;
      if (this.#search.value !== filter.text) this.#search.value = filter.text;
      for (const button of this.#states.children) {
        setAttribute(button, "aria-pressed", String(button.getAttribute("data-state") === filter.state));
      }
      this.#draw();
    }
    this.#follow();
  }

  /** Where a person was before they opened this stream. */
  focus(stream: string): void {
    this.#rows.get(stream)?.focus();
  }

  dispose(): void {
    this.#unsubscribe();
    this.#notify.dispose();
    clearInterval(this.#clock);
    cancelAnimationFrame(this.#frame);
    this.#seen.disconnect();
    for (const row of this.#rows.values()) row.dispose();
  }

  #ask(change: Partial<Place>): void {
    // A reload keeps it; going back does not undo each letter.
    history.replaceState(null, "", address({ stream: null, ...this.#filter, ...change }));
    this.show({ ...this.#filter, ...change }, true);
  }

  #drawSoon(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#visible) this.#draw();
    });
  }

  /** What is running takes longer and longer; what has ended says the date from midnight on. */
  #tick(): void {
    const now = new Date();
    if (this.#visible && !document.hidden) for (const row of this.#rows.values()) row.tick(now);
  }

  #draw(): void {
    const { entries, state, problem } = this.#multiplex.listing;
    const wanted = entries.filter((entry) => this.#wants(entry));
    const gone = new Set(this.#rows.keys());
    const places: [HTMLElement, Entry[]][] = [
      [this.#running, wanted.filter(({ status }) => status === "running")],
      [this.#ended, wanted.filter(({ status }) => status !== "running")],
    ];
    for (const [ul, those] of places) {
      let next = ul.firstElementChild;
      for (const entry of those) {
        const row = this.#row(entry);
        gone.delete(entry.stream);
        row.update(entry);
        // Moved only where the order is another: what moves loses the focus.
        if (row.element === next) {
          next = next.nextElementSibling;
          continue;
        }
        const focused = row.element.contains(document.activeElement);
        ul.insertBefore(row.element, next);
        if (focused) row.focus();
      }
      ul.hidden = !those.length;
    }
    for (const stream of gone) this.#remove(stream);
    const running = entries.filter(({ status }) => status === "running").length;
    setText(this.#count, state === "open" ? `${running} running, ${entries.length - running} ended` : "");
    document.title = running ? `${running} running · Streams` : "Streams";
    setText(this.#connection, CONNECTION[state] ?? "");
    setAttribute(this.#connection, "data-state", state);
    this.#sayTrouble(state === "failed" ? problem : null);
    this.#sayNothing(wanted.length, entries.length);
    if (state === "open") this.#announce(entries);
  }

  /** Only what trying again by itself cannot mend: mostly, that the sign-in has expired. */
  #sayTrouble(problem: Problem | null): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#trouble.hidden = !problem;
    if (!problem) this.#trouble.replaceChildren();
    else if (problem.status === 401 || problem.status === 403)
      // The server leads from this page to the one for signing in, and back.
      this.#trouble.replaceChildren("You are no longer signed in.", this.#button("Sign in", () => location.reload()));
    else this.#trouble.replaceChildren(h("span", { dir: "auto" }, problem.message), this.#button("Try again", () => this.#retry()));
  }

  #retry(): void {
    this.#multiplex.listing.retry();
    for (const row of this.#rows.values()) row.retry();
  }

  /** To those who do not see the page: which streams have begun or ended. */
  #announce(entries: readonly Entry[]): void {
    const changed = this.#statuses ? entries.filter(({ stream, status }) => this.#statuses?.get(stream) !== status) : [];
    this.#statuses = new Map(entries.map(({ stream, status }) => [stream, status]));
    if (changed.length > ANNOUNCED) setText(this.#said, `${changed.length} streams have begun or ended`);
    else if (changed.length) setText(this.#said, changed.map((entry) => `${nameOf(entry)}: ${statusWord(entry.status)}`).join(", "));
  }

  #sayNothing(wanted: number, all: number): void {
    this.#empty.hidden = wanted > 0 || this.#multiplex.listing.state !== "open";
    if (this.#empty.hidden) return;
    if (all) this.#empty.replaceChildren(h("p", {}, "No stream is like this."), this.#button("Show all", () => this.#ask({ text: "", state: "all" })));
    else {
      const code = h("pre", { dir: "ltr" }, 'from jupyter_sse import track\n\nfor x in track(range(100), "Training"):\n    ...');
      this.#empty.replaceChildren(h("p", {}, "Nothing has run yet. In a notebook:"), code);
    }
  }

  #button(text: string, press: () => void): HTMLElement {
    const button = h("button", { type: "button", class: "jsse-button" }, text);
    button.addEventListener("click", press);
    return button;
  }

  #wants({ status, title, kind, path }: Entry): boolean {
    const { text, state } = this.#filter;
    if (state === "running" && status !== "running") return false;
    if (state === "ended" && status === "running") return false;
    if (state === "failed" && status !== "error") return false;
    const words = text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const all = [title, kind, path].join("\n").toLocaleLowerCase();
    return words.every((word) => all.includes(word));
  }

  #row(entry: Entry): Row {
    let row = this.#rows.get(entry.stream);
    if (!row) {
      row = new Row(this.#multiplex, this.#options, entry);
      this.#rows.set(entry.stream, row);
      this.#seen.observe(row.element);
    }
    return row;
  }

  #remove(stream: string): void {
    const row = this.#rows.get(stream);
    if (!row) return;
    if (row.element.contains(document.activeElement)) {
      const neighbour = row.element.nextElementSibling ?? row.element.previousElementSibling;
      this.#rows.get(neighbour?.getAttribute("data-sse-stream") ?? "")?.focus();
    }
    this.#seen.unobserve(row.element);
    row.dispose();
    row.element.remove();
    this.#rows.delete(stream);
  }

  #follow(): void {
    let room = FOLLOWED;
    for (const row of this.#rows.values()) row.follow(this.#visible && row.isSeen && row.isRunning && room-- > 0);
  }
}

const CONNECTION: Record<string, string> = { connecting: "Connecting…", reconnecting: "Reconnecting…", failed: "Not connected" };
