// `jupyter-sse`: all of it, for pages.

export * from "./core";
export { AudioPlayer, type AudioState } from "../view/audio";
export { mount, type MountOptions } from "../view/mount";
export { AdaptiveTypewriter, type TypewriterOptions } from "../view/typewriter";
