// The JupyterLab extension. Wiring only.

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { Notification as LabNotification } from "@jupyterlab/apputils";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { IRunningSessionManagers } from "@jupyterlab/running";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import type { Entry } from "../../core/listing";
import { provide } from "../../view/extras";
import { duration } from "../../view/format";
import { keep, multiplexFor, show } from "./notebooks";
import { Notifications } from "./notifications";
import { MIME } from "./output";
import { StreamRenderer } from "./renderer";
import { RunningStreams } from "./running";

const RANK = -20; // before the widget's view of the same output

const outputs: JupyterFrontEndPlugin<void> = {
  id: "jupyter-sse:outputs",
  description: "Shows streams in outputs.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (app: JupyterFrontEnd, rendermime: IRenderMimeRegistry) => {
    // Each becomes a file of the extension's.
    provide((name) =>
      (name === "math" ? import("../../extras/math") : import("../../extras/highlight")).then((module) => module.default),
    );
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
        context.ready
          .then(() => keep(app, context))
          .catch((error) => console.warn("jupyter-sse: nothing restored", error));
      },
    });
  },
};

/** Apply the settings of a plugin, now and whenever they change. */
async function configure(registry: ISettingRegistry | null, id: string, apply: (values: Record<string, unknown>) => void): Promise<void> {
  const settings = await registry?.load(id);
  if (!settings) return;
  const changed = (): void => apply(settings.composite as Record<string, unknown>);
  settings.changed.connect(changed);
  changed();
}

const running: JupyterFrontEndPlugin<void> = {
  id: "jupyter-sse:running",
  description: "Lists streams in the panel of what runs.",
  autoStart: true,
  requires: [IRunningSessionManagers],
  optional: [ISettingRegistry],
  activate: async (app: JupyterFrontEnd, managers: IRunningSessionManagers, registry: ISettingRegistry | null) => {
    const streams = new RunningStreams(multiplexFor(app), {
      open: (entry) => void show(app, entry),
      isVisible: () => [...document.querySelectorAll(".jp-RunningSessions")].some((panel) => panel.checkVisibility()),
      onError: (message) => LabNotification.error(message, { autoClose: 5000 }),
    });
    managers.add(streams);
    await configure(registry, running.id, ({ ended }) => {
      streams.ended = ended as number;
      streams.refreshRunning();
    });
  },
};

const notifications: JupyterFrontEndPlugin<void> = {
  id: "jupyter-sse:notifications",
  description: "Tells when a stream ends while the tab is hidden.",
  autoStart: true,
  optional: [ISettingRegistry],
  activate: async (app: JupyterFrontEnd, registry: ISettingRegistry | null) => {
    const notifier = new Notifications(multiplexFor(app).listing, {
      isHidden: () => document.hidden,
      notify: (entry) => notify(app, entry),
    });
    await configure(registry, notifications.id, ({ enabled, afterSeconds }) => {
      notifier.enabled = enabled as boolean;
      notifier.afterSeconds = afterSeconds as number;
    });
  },
};

const ENDS = { done: ["success", "is done"], error: ["error", "has failed"], cancelled: ["warning", "was cancelled"] } as const;

/** In the page, for when it is seen again; and by the desktop, where the browser may. */
function notify(app: JupyterFrontEnd, entry: Entry): void {
  const [type, how] = ENDS[entry.status as keyof typeof ENDS] ?? ENDS.done;
  const message = `${entry.title || "A stream"} ${how} after ${duration(entry.updated - entry.created)}.`;
  const desktop = "Notification" in window ? Notification : null;
  const actions = [{ label: "Show", callback: () => void show(app, entry) }];
  if (desktop?.permission === "default") {
    const label = "Tell Me on the Desktop";
    actions.push({ label, callback: () => void desktop.requestPermission() });
  }
  LabNotification.emit(message, type, { autoClose: false, actions });
  if (desktop?.permission !== "granted") return;
  const told = new desktop(message, { tag: `jupyter-sse:${entry.stream}` }); // one, however many tabs are open
  told.onclick = () => {
    window.focus();
    void show(app, entry);
  };
}

export default [outputs, restorer, running, notifications];
