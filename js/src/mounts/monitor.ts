// The monitor page. Wiring only.

import { multiplexOf } from "../core/multiplex";
import { provide } from "../view/extras";
import { mountMonitor } from "../view/monitor";
import { fromFolder } from "./extras";

const given = JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}") as {
  baseUrl?: string;
  notebooks?: string | null;
  notifyAfter?: number;
};
const baseUrl = new URL(given.baseUrl ?? "/", location.href).href;
provide(fromFolder(import.meta.url));
mountMonitor(document.body, multiplexOf({ baseUrl, token: "" }), {
  notebooks: given.notebooks ?? null,
  notifyAfter: given.notifyAfter ?? 60,
});
