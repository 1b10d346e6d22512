// The monitor page. Wiring only.

import { multiplexOf } from "../core/multiplex";
import { mountMonitor } from "../view/monitor";

const given = JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}") as {
  baseUrl?: string;
  notebooks?: string | null;
};
const baseUrl = new URL(given.baseUrl ?? "/", location.href).href;
mountMonitor(document.body, multiplexOf({ baseUrl, token: "" }), { notebooks: given.notebooks ?? null });
