// Builds the front ends. The widget and the monitor page are one ESM file each with its styles in it, and load the
// highlighter and the formulas when they need them; the JupyterLab extension is a folder that JupyterLab loads; the npm package
// is `dist`. `--watch` rebuilds all but the last, `--package` makes the last alone.
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import { printSizes } from "./sizes.mjs";

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
    entryPoints: ["src/extras/model.ts"],
    outdir: "../jupyter_sse/static",
    minify: true,
    banner: { js: "/* Contains <model-viewer> (Apache-2.0), three.js (MIT), Lit (BSD-3-Clause) and gainmap-js (MIT): see their repositories for the authors and licences. */" },
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

// Module by module, so that a page gets no more than it uses.
function buildPackage() {
  rmSync("dist", { recursive: true, force: true });
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.npm.json"], { stdio: "inherit" });
  for (const name of readdirSync("dist", { recursive: true })) {
    if (!/\.(js|d\.ts)$/.test(name)) continue;
    const file = join("dist", name);
    // Node, and the compilers that follow it, find modules by their whole names.
    const text = readFileSync(file, "utf-8").replace(/(\bfrom |\bimport\()"(\.[^"]*)"/g, '$1"$2.js"');
    writeFileSync(file, text);
    for (const [, css] of text.matchAll(/ from "\.\/(\w+\.css)\.js"/g)) {
      const styles = readFileSync(join("src", dirname(name), css), "utf-8");
      writeFileSync(join(dirname(file), `${css}.js`), `export default ${JSON.stringify(styles)};\n`);
    }
  }
  copyFileSync("../LICENSE", "LICENSE");
}

if (process.argv.includes("--watch")) {
  for (const build of builds) {
    await esbuild.build(build);
    await (await esbuild.context(build)).watch();
  }
  spawn(process.execPath, [...labextension, "--watch", "."], { stdio: "inherit" });
} else if (process.argv.includes("--package")) {
  buildPackage();
} else {
  for (const build of builds) await esbuild.build(build);
  execFileSync(process.execPath, [...labextension, "."], { stdio: "inherit" });
  const bundle = readFileSync(widget);
  const kb = gzipSync(bundle).length / 1000;
  console.log(`widget.js: ${(bundle.length / 1000).toFixed(1)} KB, ${kb.toFixed(1)} KB gzipped (limit ${LIMIT_KB})`);
  buildPackage();
  const isSmall = await printSizes();
  if (kb > LIMIT_KB || !isSmall) process.exit(1);
}
