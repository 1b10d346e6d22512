// Text at a reader's pace: however it arrives, it appears evenly, with a pause after a sentence, and never far behind.

export interface TypewriterOptions {
  /** What a step of `charsPerStep` graphemes takes. */
  baseDelayMs?: number;
  /** How many times that is taken after the end of a sentence. */
  punctuationDelayMultiplier?: number;
  /** The same after a comma, colon or semicolon. */
  commaDelayMultiplier?: number;
  charsPerStep?: number;
  /** How far behind what has arrived the text may be. */
  maxLagMs?: number;
}

/** At most so much is cut into graphemes at a time; a longer grapheme (a stack of accents) is cut there. */
const WINDOW = 1024;
const SENTENCE_ENDS = ".!?。！？؟";
const COMMAS = ",;:،؛、";
/** Units that only add to the grapheme before them: low surrogates, joiners, accents. */
const JOINING = /[\udc00-\udfff\u200d\ufe0f\u0300-\u036f]/;
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/**
 * Gives out what is appended in pieces, each of whole graphemes, at the page's frames. The last grapheme is held back until
 * more text or `flush`: a joiner may follow. In a hidden page, or where motion is not wanted, all else is given at once.
 */
export class Pacer {
  #show: (piece: string) => void;
  #maxLag: number;
  #plainCost: number;
  #pauses: Map<string, number>;
  #unseen = "";
  /** What `#unseen` takes at the plain pace, in ms. */
  #cost = 0;
  /** How many times the plain pace we go. It only rises until all is shown, so a burst too is over within the lag. */
  #rate = 1;
  /** What may be spent, in ms at the plain pace; below 0 while a pause lasts. */
  #credit = 0;
  #frame = 0;
  #last = 0;
  #stillness = globalThis.matchMedia?.("(prefers-reduced-motion: reduce)");

  constructor(show: (piece: string) => void, options: TypewriterOptions = {}) {
    const { baseDelayMs = 8, charsPerStep = 4, maxLagMs = 1000 } = options;
    const { punctuationDelayMultiplier = 10, commaDelayMultiplier = 4 } = options;
    this.#show = show;
    this.#maxLag = Math.max(1, maxLagMs);
    this.#plainCost = baseDelayMs / Math.max(1, charsPerStep);
    this.#pauses = new Map([
      ...[...SENTENCE_ENDS].map((mark) => [mark, baseDelayMs * punctuationDelayMultiplier] as const),
      ...[...COMMAS].map((mark) => [mark, baseDelayMs * commaDelayMultiplier] as const),
    ]);
    document.addEventListener("visibilitychange", this.#onVisibility);
  }

  /** How much has arrived and is not shown, in UTF-16 units. */
  get pending(): number {
    return this.#unseen.length;
  }

  append(text: string): void {
    if (!text) return;
    this.#unseen += text;
    this.#cost += this.#costOf(text);
    if (document.hidden || this.#stillness?.matches) this.#give(Infinity);
    else this.#wait();
  }

  /** Show all now. */
  flush(): void {
    const rest = this.#unseen;
    this.#reset();
    if (rest) this.#show(rest);
  }

  /** Show nothing more. */
  dispose(): void {
    this.#reset();
    document.removeEventListener("visibilitychange", this.#onVisibility);
  }

  #onVisibility = (): void => {
    if (document.hidden) this.#give(Infinity); // there are no frames now
  };

  #reset(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#unseen = "";
    this.#cost = this.#credit = 0;
    this.#rate = 1;
  }

  #wait(): void {
    if (this.#frame) return;
    this.#last = performance.now();
    this.#frame = requestAnimationFrame(this.#onFrame);
  }

  #onFrame = (now: number): void => {
    this.#rate = Math.max(this.#rate, this.#cost / this.#maxLag);
    this.#credit += Math.max(0, now - this.#last) * this.#rate;
    this.#last = Math.max(now, this.#last);
    this.#frame = 0;
    if (this.#give(this.#credit)) {
      this.#frame ||= requestAnimationFrame(this.#onFrame);
    } else {
      this.#rate = 1;
      this.#credit = Math.min(this.#credit, 0); // time in which nothing came is not saved up
    }
  };

  /** Shows what may be had for the credit, and at most a grapheme more. False if nothing is left but what is held back. */
  #give(credit: number): boolean {
    let end = 0;
    let spent = 0;
    let more = true;
    while (more && spent < credit) {
      // Half a character would look like one that joins nothing.
      const window = this.#unseen.slice(end, end + WINDOW).replace(/[\ud800-\udbff]$/, "");
      let taken = 0;
      // A grapheme is known to have ended when the next one has begun.
      for (const { index } of graphemes.segment(window)) {
        if (index === 0) continue;
        if (spent >= credit) break;
        spent += this.#costOf(window.slice(taken, index));
        taken = index;
      }
      if (!taken && this.#unseen.length - end > WINDOW) {
        taken = window.length;
        spent += this.#costOf(window);
      }
      end += taken;
      more = taken > 0;
    }
    if (end) {
      const piece = this.#unseen.slice(0, end);
      this.#unseen = this.#unseen.slice(end);
      this.#cost = Math.max(0, this.#cost - spent);
      this.#credit = Number.isFinite(credit) ? credit - spent : 0;
      this.#show(piece);
    }
    return more;
  }

  // By code units: the sum over all that waits must not need a segmenter.
  #costOf(text: string): number {
    let cost = 0;
    for (let index = 0; index < text.length; index++) {
      const unit = text[index] as string;
      cost += this.#pauses.get(unit) ?? (JOINING.test(unit) ? 0 : this.#plainCost);
    }
    return cost;
  }
}

/** Below this a text node is added to; above, the next begins, because a node is laid out anew as a whole. */
const NODE_LENGTH = 1024;

/** Types what is appended at the end of an element. */
export class AdaptiveTypewriter {
  #element: HTMLElement;
  #node: Text | null = null;
  #pacer: Pacer;

  constructor(element: HTMLElement, options?: TypewriterOptions) {
    this.#element = element;
    this.#pacer = new Pacer((piece) => this.#type(piece), options);
  }

  append(text: string): void {
    this.#pacer.append(text);
  }

  /** Show all now. */
  flush(): void {
    this.#pacer.flush();
  }

  /** Type nothing more; what stands stays. */
  dispose(): void {
    this.#pacer.dispose();
  }

  #type(piece: string): void {
    if (this.#node && this.#node.length + piece.length <= NODE_LENGTH) {
      this.#node.appendData(piece);
    } else {
      this.#node = document.createTextNode(piece);
      this.#element.append(this.#node);
    }
  }
}
