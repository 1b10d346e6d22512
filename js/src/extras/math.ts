// TeX as MathML, by Temml.

import temml from "temml";
import sheet from "temml/dist/Temml-Local.css";
import type { Extras } from "../view/extras";

const OPTIONS = { throwOnError: true, trust: false, strict: false, maxExpand: 300, maxSize: [40, 400] as [number, number] };
const ELEMENTS = /^(?:math|semantics|m[a-z]+|span)$/;
/** What a formula needs. Not among them: ids, which would be the page's, and addresses. */
const ATTRIBUTES =
  /^(?:class|style|display|displaystyle|scriptlevel|mathvariant|mathcolor|mathbackground|stretchy|symmetric|largeop|movablelimits|accent|accentunder|form|fence|separator|lspace|rspace|minsize|maxsize|linethickness|width|height|depth|voffset|columnalign|columnlines|columnspacing|rowalign|rowlines|rowspacing|frame|notation|rowspan|columnspan|side|intent|arg)$/;

function render(tex: string, display: boolean): Element | null {
  const holder = document.createElement("span");
  try {
    // Not its `render`, which refuses a page without a doctype, as some hosts' outputs are.
    const tree = temml.__renderToMathMLTree(tex, { ...OPTIONS, displayMode: display }) as { toNode: () => Node };
    holder.append(tree.toNode());
  } catch {
    return null; // not TeX, or more than it knows, or not allowed (\includegraphics, \href)
  }
  for (const element of holder.querySelectorAll("*")) {
    if (!ELEMENTS.test(element.localName)) return null;
    for (const { name } of [...element.attributes]) if (!ATTRIBUTES.test(name)) element.removeAttribute(name);
  }
  return holder.childElementCount === 1 ? holder.firstElementChild : holder;
}

// Of the page's other formulas none may be touched, and a font would be loaded from wherever the page is.
const rules = sheet.replace(/@font-face\s*\{[^}]*\}/, "").replace(/\bbody\s*\{[^}]*\}/, "");
const styles = `.jsse-math {${rules}}`;

export default { render, styles } satisfies Extras["math"];
