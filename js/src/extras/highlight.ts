// highlight.js and its languages, as lines of runs: no HTML of its making is used as such.

import hljs from "highlight.js/lib/common";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import julia from "highlight.js/lib/languages/julia";
import latex from "highlight.js/lib/languages/latex";
import matlab from "highlight.js/lib/languages/matlab";
import powershell from "highlight.js/lib/languages/powershell";
import type { Highlighted, Run } from "../view/extras";

// What notebooks have, and "common" does not.
for (const [name, language] of Object.entries({ dockerfile, julia, latex, matlab, powershell })) {
  hljs.registerLanguage(name, language);
}
hljs.registerAliases("ipython", { languageName: "python" });

const MARKS = /<span class="([^"]*)">|<\/span>|&(amp|lt|gt|quot|#x27);|[^<&]+/g;
const CHARACTERS: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#x27": "'" };

export default function highlight(code: string, language: string): Highlighted | null {
  if (!hljs.getLanguage(language)) return null;
  const { value, _top } = hljs.highlight(code, { language, ignoreIllegals: true });
  return { lines: toLines(value), ended: !(_top as { parent?: unknown } | undefined)?.parent };
}

function toLines(html: string): Run[][] {
  const lines: Run[][] = [];
  const path: string[] = [""];
  let line: [string, string][] = [];
  for (const [mark, opened, character] of html.matchAll(MARKS)) {
    if (opened !== undefined) path.push(opened);
    else if (mark === "</span>") path.pop();
    else {
      const className = path.at(-1) as string;
      for (const text of (CHARACTERS[character ?? ""] ?? mark).split(/(?<=\n)/)) {
        const last = line.at(-1);
        if (last?.[0] === className) last[1] += text;
        else line.push([className, text]);
        if (!text.endsWith("\n")) continue;
        lines.push(line);
        line = [];
      }
    }
  }
  if (line.length) lines.push(line);
  return lines;
}
