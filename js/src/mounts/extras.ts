// Where a page that is no JupyterLab gets the highlighter and the formulas from.

import type { CommModel } from "../core/comm";
import type { Extras, Loader, Name } from "../view/extras";

const PATIENCE_MS = 30_000; // a kernel that is busy, or has no such file, says nothing

async function fromModule(url: string): Promise<Extras[Name]> {
  return ((await import(url)) as { default: Extras[Name] }).default;
}

/** The folder of a server's static files. */
export function fromFolder(url: string): Loader {
  return (name) => fromModule(new URL(`${name}.js`, url).href);
}

/** The kernel, which has the files too, where there is no server to ask. */
export function fromKernel(model: CommModel): Loader {
  return async (name) => {
    const code = await new Promise<string>((resolve, reject) => {
      setTimeout(() => reject(new Error("The kernel did not answer.")), PATIENCE_MS);
      model.on("msg:custom", (content) => {
        const { op, name: sent, code } = content as { op?: string; name?: string; code?: string };
        if (op === "extra" && sent === name) resolve(code ?? "");
      });
      model.send({ op: "extra", name });
    });
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    try {
      return await fromModule(url);
    } finally {
      URL.revokeObjectURL(url);
    }
  };
}
