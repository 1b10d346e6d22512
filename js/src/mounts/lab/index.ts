// The JupyterLab extension. Wiring only.

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { Notification as LabNotification } from "@jupyterlab/apputils";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { IRunningSessionManagers } from "@jupyterlab/running";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import type { Entry } from "../../core/listing";
import { Notifications } from "../../core/notifications";
import { notifyOnDesktop } from "../../view/desktop";
import { styleSheet } from "../../view/dom";
import { provide } from "../../view/extras";
import { newsText } from "../../view/format";
import { keep, multiplexFor, show } from "./notebooks";
import { MIME } from "./output";
import { StreamRenderer } from "./renderer";
import { RunningStreams } from "./running";
import styles from "./running.css";

const RANK = -20; // before the widget's view of the same output

const outputs: JupyterFrontEndPlugin<void> = {
  id: "jupyter-sse:outputs",
  description: "Shows streams in outputs.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (app: JupyterFrontEnd, rendermime: IRenderMimeRegistry) => {
    // Each becomes a file of the extension's.
    const files = {
      math: () => import("../../extras/math"),
      highlight: () => import("../../extras/highlight"),
      model: () => import("../../extras/model"),
    };
    provide(async (name) => (await files[name]()).default);
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
    document.head.append(styleSheet(styles));
    managers.add(streams);
    await configure(registry, running.id, ({ ended }) => {
      streams.ended = ended as number;
      streams.refreshRunning();
    });
  },
};

const notifications: JupyterFrontEndPlugin<void> = {
  id: "jupyter-sse:notifications",
  description: "Tells when a stream ends, or has no news, while the tab is hidden.",
  autoStart: true,
  optional: [ISettingRegistry],
  activate: async (app: JupyterFrontEnd, registry: ISettingRegistry | null) => {
    const notifier = new Notifications(multiplexFor(app).listing, {
      isHidden: () => document.hidden,
      notify: (entry) => notify(app, entry),
    });
    await configure(registry, notifications.id, ({ enabled, afterSeconds, stalled }) => {
      notifier.stalled = stalled as boolean;
      notifier.enabled = enabled as boolean;
      notifier.afterSeconds = afterSeconds as number;
    });
  },
};

const TYPES = { running: "warning", done: "success", error: "error", cancelled: "warning" } as const;

/** In the page, for when it is seen again; and by the desktop, where the browser may. */
function notify(app: JupyterFrontEnd, entry: Entry): void {
  const type = TYPES[entry.status as keyof typeof TYPES] ?? TYPES.done;
  const actions = [{ label: "Show", callback: () => void show(app, entry) }];
  if ("Notification" in window && Notification.permission === "default") {
    actions.push({ label: "Tell Me on the Desktop", callback: () => void Notification.requestPermission() });
  }
  LabNotification.emit(newsText(entry), type, { autoClose: false, actions });
  notifyOnDesktop(entry, () => void show(app, entry));
}

export default [outputs, restorer, running, notifications];
