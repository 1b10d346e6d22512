// A terminal's colours: SGR escape sequences as elements, other escape sequences as nothing. Only text nodes are made of the text.

import { h } from "./dom";

// eslint-disable-next-line no-control-regex
const ESCAPE = /\x1b(?:\[([0-9:;]*)m|\[[\x20-\x3f]*[\x40-\x7e]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x20-\x2f]*[\x30-\x5a\x5c\x60-\x7e])/g;

const ON: Record<number, string> = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const OFF: Record<number, string[]> = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };

/** What a colour follows: that of the text, of what is behind it, of its underline. */
const COLOURS = new Set([38, 48, 58]);

interface Style {
  flags: Set<string>;
  color: string;
  background: string;
}

/** What to append for a line of output. */
export function ansi(text: string): (Node | string)[] {
  if (!text.includes("\x1b")) return [text];
  const parts: (Node | string)[] = [];
  const style: Style = { flags: new Set(), color: "", background: "" };
  let at = 0;
  const add = (end: number): void => {
    if (end > at) parts.push(styled(text.slice(at, end), style));
  };
  for (const match of text.matchAll(ESCAPE)) {
    add(match.index);
    at = match.index + match[0].length;
    if (match[1] !== undefined) apply(style, match[1].split(";").flatMap(codesOf));
  }
  add(text.length);
  return parts;
}

function styled(text: string, { flags, color, background }: Style): Node | string {
  if (!flags.size && !color && !background) return text;
  const span = h("span", { class: [...flags].map((flag) => `jsse-ansi-${flag}`).join(" ") || null }, text);
  // Set as properties: a content security policy forbids the attribute.
  span.style.color = color;
  // Faint, so that text of any colour can be read on it.
  span.style.backgroundColor = background && `color-mix(in oklab, ${background} 30%, transparent)`;
  return span;
}

/** One parameter. Some have parts: an underline its kind, a colour the name of its space before red, green, blue. */
function codesOf(parameter: string): number[] {
  const [code = 0, ...parts] = parameter.split(":").map(Number);
  if (!parts.length) return [code];
  if (code === 4) return [parts[0] ? 4 : 24];
  if (!COLOURS.has(code)) return [];
  return parts[0] === 2 ? [code, 2, ...parts.slice(-3)] : [code, ...parts];
}

function apply(style: Style, codes: number[]): void {
  for (let index = 0; index < codes.length; index++) {
    const code = codes[index] ?? 0;
    if (code === 0) {
      style.flags.clear();
      style.color = style.background = "";
    } else if (ON[code]) style.flags.add(ON[code]);
    else if (OFF[code]) for (const flag of OFF[code]) style.flags.delete(flag);
    else if (code >= 30 && code <= 37) style.color = named(code - 30);
    else if (code >= 90 && code <= 97) style.color = named(code - 82);
    else if (code >= 40 && code <= 47) style.background = named(code - 40);
    else if (code >= 100 && code <= 107) style.background = named(code - 92);
    else if (code === 39) style.color = "";
    else if (code === 49) style.background = "";
    else if (COLOURS.has(code)) {
      const [colour, used] = extended(codes.slice(index + 1));
      index += used;
      if (code === 38) style.color = colour && !colour.startsWith("var") ? `color-mix(in oklab, ${colour} 70%, currentColor)` : colour;
      else if (code === 48) style.background = colour;
    }
  }
}

function named(index: number): string {
  return `var(--jsse-ansi-${index})`;
}

/** One of 256 colours, or one by red, green and blue; and how many codes say so. */
function extended([way, ...codes]: number[]): [colour: string, used: number] {
  const byte = (value: number | undefined): number => Math.min(255, Math.max(0, value || 0));
  if (way === 2) return [`rgb(${codes.slice(0, 3).map(byte).join(" ")})`, 4];
  if (way !== 5) return ["", 1];
  const index = byte(codes[0]);
  if (index < 16) return [named(index), 2];
  const grey = 8 + 10 * (index - 232);
  if (index >= 232) return [`rgb(${grey} ${grey} ${grey})`, 2];
  const level = (step: number): number => (step ? 55 + 40 * step : 0);
  const cube = index - 16;
  return [`rgb(${level(Math.floor(cube / 36))} ${level(Math.floor(cube / 6) % 6)} ${level(cube % 6)})`, 2];
}
