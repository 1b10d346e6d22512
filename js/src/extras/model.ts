// 3D models, by <model-viewer>.

import type { Extras } from "../view/extras";

/** Where it would look for decoders that are not in here: never on somebody else's server. */
const NOWHERE = "data:,";
const LOCATIONS = ["dracoDecoderLocation", "ktx2TranscoderLocation", "lottieLoaderLocation"] as const;

async function show(url: string, alt: string): Promise<HTMLElement> {
  // A page has one element of this name, and another extension of JupyterLab's may have been first.
  if (!customElements.get("model-viewer")) await import("@google/model-viewer/lib/model-viewer.js");
  const viewer = document.createElement("model-viewer");
  const type = customElements.get("model-viewer") as unknown as Record<(typeof LOCATIONS)[number], string>;
  // Each element that is made sets them anew.
  for (const name of LOCATIONS) if (name in type) type[name] = NOWHERE;
  // Android's own viewer would ask the server for the model without being signed in.
  for (const [name, value] of Object.entries({ alt, "camera-controls": "", "touch-action": "pan-y", "shadow-intensity": "1", ar: "", "ar-modes": "webxr quick-look", "interaction-prompt": "none", src: url })) {
    viewer.setAttribute(name, value);
  }
  return viewer;
}

export default show satisfies Extras["model"];
