// The extension as JupyterLab's builder looks for it where there is no `main`; with one, npm would publish that file.
export { default } from "./lib/lab.js";
