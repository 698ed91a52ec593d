/**
 * Patterns as Redis' PSUBSCRIBE has them: "*" is any run of characters, "/" too, "?" is one, "[a-z]" and "[^a-z]" are one of
 * some, and "\" takes the next one as it is. A match takes at most as many steps as the text times the pattern is long.
 */

/** One character of a pattern, or a run of any. */
interface Part {
  readonly isRun: boolean;
  /** First and last code points, pairwise; what is not one of them if `isNegated`. */
  readonly ranges: readonly number[];
  readonly isNegated: boolean;
}

const RUN: Part = { isRun: true, ranges: [], isNegated: false };
const ONE: Part = { isRun: false, ranges: [], isNegated: true };

export class Glob {
  readonly #parts: readonly Part[];
  /** What alone it matches; undefined if that is more than one text. */
  readonly literal: string | undefined;

  /** Throws SyntaxError for a set without an end, and for a "\" at the end. */
  constructor(pattern: string) {
    const parts: Part[] = [];
    let literal: string | undefined = "";
    const characters = [...pattern];
    for (let at = 0; at < characters.length; at++) {
      const character = characters[at] as string;
      if (character === "*") {
        if (parts.at(-1) !== RUN) parts.push(RUN);
        literal = undefined;
      } else if (character === "?") {
        parts.push(ONE);
        literal = undefined;
      } else if (character === "[") {
        const { part, end } = parseSet(characters, at);
        parts.push(part);
        at = end;
        literal = undefined;
      } else {
        const plain = character === "\\" ? characters[++at] : character;
        if (plain === undefined) throw new SyntaxError('it ends with a "\\"');
        const code = codeOf(plain);
        parts.push({ isRun: false, ranges: [code, code], isNegated: false });
        if (literal !== undefined) literal += plain;
      }
    }
    this.#parts = parts;
    this.literal = literal;
  }

  /** Whether it matches all of a text. */
  matches(text: string): boolean {
    if (this.literal !== undefined) return text === this.literal;
    const parts = this.#parts;
    const codes = Array.from(text, codeOf);
    let part = 0;
    /** Where to go on if what follows the last run does not match: the run takes one character more. */
    let run = -1;
    let runEnd = 0;
    for (let at = 0; at < codes.length; ) {
      const wanted = parts[part];
      if (wanted?.isRun) {
        run = part++;
        runEnd = at;
      } else if (wanted !== undefined && takes(wanted, codes[at] as number)) {
        part++;
        at++;
      } else if (run >= 0) {
        part = run + 1;
        at = ++runEnd;
      } else return false;
    }
    while (parts[part]?.isRun) part++;
    return part === parts.length;
  }
}

function codeOf(character: string): number {
  return character.codePointAt(0) as number;
}

function takes({ ranges, isNegated }: Part, code: number): boolean {
  for (let at = 0; at < ranges.length; at += 2) {
    if (code >= (ranges[at] as number) && code <= (ranges[at + 1] as number)) return !isNegated;
  }
  return isNegated;
}

function parseSet(characters: readonly string[], start: number): { part: Part; end: number } {
  let at = start + 1;
  const isNegated = characters[at] === "^";
  if (isNegated) at++;
  const ranges: number[] = [];
  const take = (): number => {
    if (characters[at] === "\\") at++;
    const character = characters[at++];
    if (character === undefined) throw new SyntaxError('a "[" has no "]"');
    return codeOf(character);
  };
  while (characters[at] !== "]") {
    const first = take();
    let last = first;
    if (characters[at] === "-" && characters[at + 1] !== "]") {
      at++;
      last = take();
    }
    ranges.push(Math.min(first, last), Math.max(first, last));
  }
  return { part: { isRun: false, ranges, isNegated }, end: at };
}
