// What each entry of the npm package adds to a page, its dependencies included, minified and gzipped. React and Vue are the
// page's own.
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const LIMITS_KB = {
  'import { SSEConsumer } from "jupyter-sse"': 5,
  'import * as all from "jupyter-sse/core"': 8,
  'import * as all from "jupyter-sse"': 90,
  'import { useStream } from "jupyter-sse/react"': 7,
  'import { useStream } from "jupyter-sse/vue"': 7,
};

export async function printSizes() {
  let isFine = true;
  for (const [statement, limit] of Object.entries(LIMITS_KB)) {
    const name = /^import (?:\{ (\w+) \}|\* as (\w+))/.exec(statement);
    const { outputFiles } = await esbuild.build({
      stdin: { contents: `${statement}; globalThis.used = ${name[1] ?? name[2]};`, resolveDir: import.meta.dirname },
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: "es2022",
      legalComments: "none",
      external: ["react", "vue"],
    });
    const kb = gzipSync(outputFiles[0].contents).length / 1000;
    isFine &&= kb <= limit;
    console.log(`${statement}: ${kb.toFixed(1)} KB gzipped (limit ${limit})`);
  }
  return isFine;
}

if (process.argv[1] === import.meta.filename && !(await printSizes())) process.exit(1);
