import { expect, test } from "vitest";
import chat from "./chat.css";
import monitor from "./monitor.css";
import style from "./style.css";

test("words have a colour that can be read, and not one for dots and lines", () => {
  for (const sheet of [style, monitor, chat]) expect(sheet).not.toMatch(/[\s;{]color: var\(--jsse-(good|warn|bad)\)/);
  expect(style).toMatch(/[\s;{]color: var\(--jsse-warn-text\)/);
});
