/**
 * The text in which LVM writes down a volume group: sections in braces, and values with names (lvm.conf(5) has the same
 * form). Whatever a text says, it is read in one pass, and not deeper than real ones go.
 */

/** A value: a string, a number, or a list of them. NaN: a number that is none, or too large to be exact. */
export type TextValue = string | number | readonly (string | number)[];

/** What stands between braces, by name. Of two of one name the first counts. */
export interface Section {
  readonly sections: ReadonlyMap<string, Section>;
  readonly values: ReadonlyMap<string, TextValue>;
}

/** The text is none of LVM's. */
export class TextError extends Error {}

/** Real texts have a group, a list in it, a volume in that, and a segment in the volume. */
const MAX_DEPTH = 8;

const WHITE_SPACE = /\s*/y;
const NAME = /[A-Za-z0-9_.+/-]+/y;
const NUMBER = /[-+]?[0-9.]+/y;

/** Throws TextError. */
export function parseText(text: string): Section {
  return new TextParser(text).parse();
}

class TextParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Section {
    return this.#section(0);
  }

  #section(depth: number): Section {
    const sections = new Map<string, Section>();
    const values = new Map<string, TextValue>();
    for (;;) {
      this.#skipBlank();
      if (this.#at === this.#text.length) {
        if (depth === 0) return { sections, values };
        throw this.#error("ends within a section");
      }
      if (depth > 0 && this.#takes("}")) return { sections, values };
      const name = this.#string() ?? this.#match(NAME);
      if (name === undefined) throw this.#error("has no name where one belongs");
      this.#skipBlank();
      if (this.#takes("{")) {
        if (depth === MAX_DEPTH) throw this.#error("goes too deep");
        const section = this.#section(depth + 1);
        if (!sections.has(name)) sections.set(name, section);
      } else if (this.#takes("=")) {
        const value = this.#value();
        if (!values.has(name)) values.set(name, value);
      } else throw this.#error("has a name without a value");
    }
  }

  #value(): TextValue {
    this.#skipBlank();
    if (!this.#takes("[")) return this.#scalar();
    const list: (string | number)[] = [];
    for (;;) {
      this.#skipBlank();
      if (this.#takes("]")) return list;
      list.push(this.#scalar());
      this.#skipBlank();
      if (!this.#takes(",") && this.#text[this.#at] !== "]") throw this.#error("has a list without its end");
    }
  }

  #scalar(): string | number {
    const quoted = this.#string();
    if (quoted !== undefined) return quoted;
    const digits = this.#match(NUMBER);
    if (digits === undefined) throw this.#error("has no value where one belongs");
    const value = Number(digits);
    return Number.isSafeInteger(value) ? value : Number.NaN;
  }

  /** What stands between quotation marks; undefined: there are none just here. */
  #string(): string | undefined {
    if (this.#text[this.#at] !== '"') return undefined;
    let end = this.#at + 1;
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === "\\" ? 2 : 1;
    if (end >= this.#text.length) throw this.#error("has a string without its end");
    const inner = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return inner.replace(/\\(.)/gs, "$1");
  }

  /** White space and comments. */
  #skipBlank(): void {
    for (;;) {
      this.#match(WHITE_SPACE);
      if (this.#text[this.#at] !== "#") return;
      const end = this.#text.indexOf("\n", this.#at);
      this.#at = end < 0 ? this.#text.length : end;
    }
  }

  #takes(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  /** What the pattern finds just here. */
  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #error(what: string): TextError {
    return new TextError(`${what}, at character ${this.#at}`);
  }
}
