// Builds the widget: one ESM file with its styles in it, which anywidget sends to the page. `--watch` rebuilds.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const LIMIT_KB = 90; // of the widget, gzipped: it travels once for every stream that is shown
const outfile = "../jupyter_sse/static/widget.js";

const options = {
  entryPoints: ["src/mounts/widget.ts"],
  outfile,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  loader: { ".css": "text" },
  logLevel: "info",
};

if (process.argv.includes("--watch")) {
  await (await esbuild.context(options)).watch();
} else {
  await esbuild.build(options);
  const bundle = readFileSync(outfile);
  const kb = gzipSync(bundle).length / 1000;
  console.log(`widget.js: ${(bundle.length / 1000).toFixed(1)} KB, ${kb.toFixed(1)} KB gzipped (limit ${LIMIT_KB})`);
  if (kb > LIMIT_KB) process.exit(1);
}
