/** Pages of the manual in the language of man(7), as groff and mandoc read it. */
import { wrapped } from "./help.js";

/** Characters of a line of a page's source, without what escapes take. */
const WIDTH = 72;

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\e",
  "-": "\\-",
  "'": "\\(aq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
};

export interface PageTitle {
  readonly name: string;
  readonly section: number;
  /** What it belongs to: a program and its version. */
  readonly source: string;
  readonly volume: string;
}

/** A page of these sections. The title's texts are as they are: a date or a name that is escaped is none. */
export function page(
  { name, section: number, source, volume }: PageTitle,
  sections: readonly string[],
): string {
  const title = [name.toUpperCase(), number, pageDate(), source, volume].map((text) => `"${text}"`);
  return `.TH ${title.join(" ")}\n${sections.join("")}`;
}

/** The day of the page: of SOURCE_DATE_EPOCH where that is set, so that builds can be repeated. */
function pageDate(): string {
  const { SOURCE_DATE_EPOCH: seconds } = process.env;
  return (seconds === undefined ? new Date() : new Date(1000 * Number(seconds))).toISOString().slice(0, 10);
}

/** A section; empty if it holds nothing. `content` is in roff. */
export function section(heading: string, content: string | readonly string[]): string {
  const parts = (typeof content === "string" ? [content] : content).filter((part) => part !== "");
  return parts.length === 0 ? "" : `.SH ${heading}\n${parts.join("\n").replace(/^\.PP\n/, "")}\n`;
}

/** A paragraph of plain text. */
export function paragraph(text: string): string {
  return `.PP\n${prose(text)}`;
}

/** A term in roff, and plain text that says what it is. */
export function item(term: string, text: string): string {
  return `.TP\n${term}\n${prose(text)}`;
}

/** Lines that stay as they are, indented. */
export function literalBlock(text: string): string {
  const lines = text.split("\n").map((line) => guarded(literal(line)));
  return [".PP", ".RS 4", ".nf", ...lines, ".fi", ".RE"].join("\n");
}

/** Bold text. */
export function bold(text: string): string {
  return `\\fB${literal(text)}\\fR`;
}

/** Text that somebody replaces by their own: italics, or underlined. */
export function slanted(text: string): string {
  return `\\fI${literal(text)}\\fR`;
}

/** Text in which nothing means anything to roff. */
export function literal(text: string): string {
  return text.replace(/[\\\-'`^~]/g, (character) => ESCAPES[character] ?? character);
}

function prose(text: string): string {
  return wrapped(text, WIDTH)
    .map((line) => guarded(literal(line)))
    .join("\n");
}

/** A line that is no request. */
function guarded(line: string): string {
  return line.startsWith(".") ? `\\&${line}` : line;
}
