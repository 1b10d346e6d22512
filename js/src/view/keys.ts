// Which keys are those of what has the focus. In a notebook Shift+Enter runs a cell, Enter on a button edits it, arrows leave
// it, and "d" twice deletes it.

/**
 * Keep JupyterLab's shortcuts from the keys that are an element's own, wherever in `root` the focus is; returns how to stop.
 *
 * JupyterLab asks for this attribute, the element that has the focus first, and before any listener in the page.
 */
export function keepKeys(root: HTMLElement, isOwn: (event: KeyboardEvent, target: Element) => boolean): () => void {
  const keep = (event: KeyboardEvent): void => {
    const [target] = event.composedPath();
    if (!(target instanceof Element) || !root.contains(target)) return;
    target.toggleAttribute("data-lm-suppress-shortcuts", isOwn(event, target));
  };
  window.addEventListener("keydown", keep, true);
  return () => window.removeEventListener("keydown", keep, true);
}

/** All but what JupyterLab saves with, and its palette. */
export function isTyping({ key, ctrlKey, metaKey, shiftKey }: KeyboardEvent): boolean {
  const lower = key.toLowerCase();
  return !((ctrlKey || metaKey) && (lower === "s" || (shiftKey && lower !== "z" && lower !== "enter")));
}

/** It scrolls a box that has more than it shows, or is for the controls of sound or film. */
export function isMoving({ key, ctrlKey, metaKey, altKey, shiftKey }: KeyboardEvent, target: Element): boolean {
  if (ctrlKey || metaKey || altKey || (shiftKey && key !== " ")) return false;
  const isAcross = /^Arrow(Left|Right)$/.test(key);
  if (!isAcross && !/^(Arrow(Up|Down)|Page(Up|Down)|Home|End| )$/.test(key)) return false;
  if (target.matches("audio, video")) return true;
  if (!target.matches("[tabindex]")) return false;
  return isAcross ? target.scrollWidth > target.clientWidth : target.scrollHeight > target.clientHeight;
}
