// Builds the front ends. The widget and the monitor page are one ESM file each with its styles in it, and load the
// highlighter and the formulas when they need them; the JupyterLab extension is a folder that JupyterLab loads. `--watch`
// rebuilds.
import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const LIMIT_KB = 90; // of the widget, gzipped: it travels once for every stream that is shown
const widget = "../jupyter_sse/static/widget.js";

const options = {
  bundle: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  loader: { ".css": "text" },
  logLevel: "info",
};
const builds = [
  { ...options, entryPoints: ["src/mounts/widget.ts"], outfile: widget, minify: true },
  { ...options, entryPoints: ["src/mounts/monitor.ts"], outfile: "../jupyter_sse/static/monitor.js", minify: true },
  {
    ...options,
    entryPoints: ["src/extras/highlight.ts", "src/extras/math.ts"],
    outdir: "../jupyter_sse/static",
    minify: true,
    banner: { js: "/* Contains highlight.js (BSD-3-Clause) or Temml (MIT): see their repositories for the authors. */" },
  },
  {
    ...options,
    entryPoints: { lab: "src/mounts/lab/index.ts" },
    outdir: "lib",
    splitting: true,
    chunkNames: "[name]",
    // What JupyterLab has itself is taken from there.
    external: ["@jupyterlab/*", "@lumino/*"],
  },
];
// What `jupyter labextension build` runs, without Python and with the metadata that was installed: nothing is fetched.
const labextension = [
  "node_modules/@jupyter/builder/lib/build-labextension.js",
  "--core-package-file",
  "node_modules/@jupyterlab/core-meta/core.package.json",
];

if (process.argv.includes("--watch")) {
  for (const build of builds) {
    await esbuild.build(build);
    await (await esbuild.context(build)).watch();
  }
  spawn(process.execPath, [...labextension, "--watch", "."], { stdio: "inherit" });
} else {
  for (const build of builds) await esbuild.build(build);
  execFileSync(process.execPath, [...labextension, "."], { stdio: "inherit" });
  const bundle = readFileSync(widget);
  const kb = gzipSync(bundle).length / 1000;
  console.log(`widget.js: ${(bundle.length / 1000).toFixed(1)} KB, ${kb.toFixed(1)} KB gzipped (limit ${LIMIT_KB})`);
  if (kb > LIMIT_KB) process.exit(1);
}
