// Puts back what a reload took from a notebook: outputs that had not been saved, and the ends of those that had.
//
// Only a page writes a notebook, through its model, so that undo, saving and other extensions work as ever. Where a
// cell was run again, or its output cleared, the old output stays away: the page that sees it go tells the server.

import type { Entry } from "../../core/listing";
import type { StreamSource } from "../../core/source";
import { isBundle, MIME, type Bundle } from "./output";

type Data = Record<string, unknown>;

/** Of JupyterLab's models, what is used here. */
export interface Signal<T> {
  connect(slot: (sender: unknown, change: T) => void): unknown;
}
export interface OutputModel {
  readonly data: Data;
}
export interface OutputsChange {
  type: string;
  newValues: readonly OutputModel[];
  oldValues: readonly OutputModel[];
}
export interface DisplayData {
  output_type: "display_data";
  data: Data;
  metadata: Data;
}
export interface Outputs {
  readonly length: number;
  readonly changed: Signal<OutputsChange>;
  get(index: number): OutputModel;
  add(output: DisplayData): unknown;
  set(index: number, output: DisplayData): void;
  clear(): void;
}
export interface CodeCell {
  readonly id: string;
  readonly outputs: Outputs;
  executionCount: number | null;
}
export type Cell = CodeCell | { readonly id: string; readonly outputs?: undefined };
export interface Notebook {
  readonly cells: Iterable<Cell> & { readonly changed: Signal<unknown> };
  readonly contentChanged: Signal<unknown>;
  readonly isDisposed: boolean;
  dirty: boolean;
}

export interface Server {
  /** The stream as the data of an output; null where it is gone. */
  output(stream: string): Promise<Data | null>;
  /** The stream's output was taken out of its cell. */
  dismiss(stream: string): void;
  source(stream: string): StreamSource;
  /** Another page has this notebook's kernel, and saves the notebook itself. */
  isOpenElsewhere(): Promise<boolean>;
}

interface Watched {
  cell: CodeCell;
  streams: Set<string>;
  changes: number;
}

export class Restorer {
  #notebook: Notebook;
  #server: Server;
  #cells = new Map<string, Watched>();
  #changing = false;
  #ours = false; // what is not saved yet are changes of ours alone
  #stops = new Set<() => void>();

  /** For a notebook that has just been read from disk: what it holds was saved. */
  constructor(notebook: Notebook, server: Server) {
    this.#notebook = notebook;
    this.#server = server;
    notebook.contentChanged.connect(() => (this.#ours &&= this.#changing));
    notebook.cells.changed.connect(() => this.#watchCells());
    this.#watchCells();
    for (const [id, { cell }] of this.#cells) {
      bundles(cell.outputs).forEach((bundle, index) => {
        if (!bundle || bundle.snapshot) return;
        // What the cell says from now on comes to the page that runs it alone: here, the stream has to say it.
        if (bundle.slim) void this.#change(() => cell.outputs.set(index, display({ ...cell.outputs.get(index).data, [MIME]: whole(bundle) })));
        this.#follow(id, bundle.stream);
      });
    }
  }

  dispose(): void {
    for (const stop of this.#stops) stop();
    this.#stops.clear();
  }

  /** Put back what these streams (newest first) showed, if it is not there; `saved` is when the file was written. */
  async restore(entries: readonly Entry[], saved: number): Promise<void> {
    const found = await Promise.all(
      [...this.#lost(entries, saved)].map(async ([id, streams]) => {
        const before = this.#cells.get(id)?.changes;
        const data = await Promise.all(streams.map(({ stream }) => this.#server.output(stream)));
        return { id, before, run: streams[0]?.execution ?? null, data: data.filter((one) => one !== null) };
      }),
    );
    const changes: (() => void)[] = [];
    for (const { id, before, run, data } of found) {
      const watched = this.#cells.get(id);
      if (!watched || watched.changes !== before || !data.length) continue; // it has been run meanwhile
      changes.push(() => {
        if (this.#isFromBefore(watched, run, entries)) {
          watched.cell.outputs.clear();
          watched.cell.executionCount = null;
        }
        for (const one of data) {
          watched.cell.outputs.add(display(one));
          const bundle = bundleOf(one);
          if (bundle && !bundle.snapshot) this.#follow(id, bundle.stream);
        }
      });
    }
    if (changes.length && !this.#notebook.isDisposed) await this.#change(() => changes.forEach((change) => change()));
  }

  /** By cell, oldest first: streams of its latest run that the notebook does not have, and had no chance to save. */
  #lost(entries: readonly Entry[], saved: number): Map<string, Entry[]> {
    const present = new Set([...this.#cells.values()].flatMap(({ streams }) => [...streams]));
    const latest = new Map<string, string | null>();
    const lost = new Map<string, Entry[]>();
    for (const entry of entries) {
      const { stream, cell, execution, status, updated, dismissed } = entry;
      if (cell === null || !this.#cells.has(cell)) continue;
      if (!latest.has(cell)) latest.set(cell, execution);
      if (dismissed || present.has(stream) || latest.get(cell) !== execution) continue;
      if (status !== "running" && updated <= saved) continue;
      lost.set(cell, [entry, ...(lost.get(cell) ?? [])]);
    }
    return lost;
  }

  /** Whether what the cell shows is known to come from a run before this one: it was gone when this one began. */
  #isFromBefore({ streams }: Watched, run: string | null, entries: readonly Entry[]): boolean {
    const runs = entries.filter(({ stream }) => streams.has(stream)).map(({ execution }) => execution);
    return runs.length > 0 && !runs.includes(run);
  }

  /** When a stream ends whose output no kernel will update any more, put its end into the notebook. */
  #follow(id: string, stream: string): void {
    const source = this.#server.source(stream);
    let leave = (): void => undefined;
    const stop = (): void => {
      leave();
      this.#stops.delete(stop);
    };
    const look = (): void => {
      if (source.state === "failed") stop();
      else if (source.snapshot.status !== "running") {
        stop();
        void this.#end(id, stream);
      }
    };
    this.#stops.add(stop);
    leave = source.subscribe(look);
    look();
  }

  async #end(id: string, stream: string): Promise<void> {
    const data = await this.#server.output(stream);
    const outputs = this.#cells.get(id)?.cell.outputs;
    if (!data || !outputs || this.#notebook.isDisposed) return;
    const index = bundles(outputs).findIndex((bundle) => bundle?.stream === stream && !bundle.snapshot);
    if (index >= 0) await this.#change(() => outputs.set(index, display(data)));
  }

  /** Change the notebook, which is then to be saved: by the page that runs it, if there is another one. */
  async #change(change: () => void): Promise<void> {
    this.#ours ||= !this.#notebook.dirty;
    this.#changing = true;
    change();
    this.#changing = false;
    if (!this.#ours || !(await this.#server.isOpenElsewhere())) return;
    if (this.#ours && !this.#notebook.isDisposed) this.#notebook.dirty = false;
  }

  #watchCells(): void {
    const gone = new Set(this.#cells.keys());
    for (const cell of this.#notebook.cells) {
      if (!isCode(cell)) continue;
      gone.delete(cell.id);
      if (this.#cells.get(cell.id)?.cell === cell) continue;
      const watched: Watched = { cell, streams: streamsOf(cell.outputs), changes: 0 };
      this.#cells.set(cell.id, watched);
      cell.outputs.changed.connect((_, change) => this.#changed(watched, change));
    }
    for (const id of gone) this.#cells.delete(id);
  }

  #changed(watched: Watched, { type, newValues, oldValues }: OutputsChange): void {
    watched.changes += 1;
    if (type === "set" && newValues[0] === oldValues[0]) return; // text that grows
    if (type === "add") {
      for (const { data } of newValues) {
        const stream = bundleOf(data)?.stream;
        if (stream) watched.streams.add(stream);
      }
      return;
    }
    const left = streamsOf(watched.cell.outputs);
    for (const stream of watched.streams) if (!left.has(stream)) this.#server.dismiss(stream);
    watched.streams = left;
  }
}

const isCode = (cell: Cell): cell is CodeCell => cell.outputs !== undefined;
const display = (data: Data): DisplayData => ({ output_type: "display_data", data, metadata: {} });

const whole = ({ slim: _, ...bundle }: Bundle): Bundle => bundle;

function bundleOf(data: Data): Bundle | null {
  const bundle = data[MIME];
  return isBundle(bundle) ? bundle : null;
}

/** What each output shows, null where that is no stream. */
function bundles(outputs: Outputs): (Bundle | null)[] {
  return Array.from({ length: outputs.length }, (_, index) => bundleOf(outputs.get(index).data));
}

function streamsOf(outputs: Outputs): Set<string> {
  return new Set(bundles(outputs).flatMap((bundle) => (bundle ? [bundle.stream] : [])));
}
