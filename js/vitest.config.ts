import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [
    {
      // As the bundler does: a stylesheet is its text.
      name: "css-as-text",
      enforce: "pre",
      transform(code, id) {
        return id.endsWith(".css") ? { code: `export default ${JSON.stringify(code)}`, map: null } : undefined;
      },
    },
  ],
  test: {
    include: ["src/**/*.test.ts"],
    setupFiles: ["src/core/fakes.setup.ts"],
    environment: "node",
    css: true,
    testTimeout: 60_000, // the machine may be busy with other things
  },
});
