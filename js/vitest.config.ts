import { readFile } from "node:fs/promises";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [
    {
      // As the bundler does: a stylesheet is its text.
      name: "css-as-text",
      enforce: "pre",
      async resolveId(source, importer) {
        const found = source.endsWith(".css") ? await this.resolve(source, importer, { skipSelf: true }) : null;
        return found && `\0${found.id}.js`;
      },
      async load(id) {
        if (!id.startsWith("\0") || !id.endsWith(".css.js")) return undefined;
        return `export default ${JSON.stringify(await readFile(id.slice(1, -".js".length), "utf-8"))}`;
      },
    },
  ],
  test: {
    include: ["src/**/*.test.ts"],
    setupFiles: ["src/core/fakes.setup.ts"],
    environment: "node",
    testTimeout: 60_000, // the machine may be busy with other things
  },
});
