/** Patterns of images' paths: `*` is any number of characters within a name, `?` is one, `[a-z]` one of these. */
import { basename, extname } from "node:path";
import { parseImage } from "../image-name.js";

/** A pattern that images are looked for by. */
export interface ImagePattern {
  /** A whole path, with FORMAT: before it or without. */
  readonly pattern: string;
  /** The guest's name, in which $1 to $9 are what the pattern's `*` stand for. Default: the file's, without extension. */
  readonly name?: string | undefined;
}

/** One component of a path. */
export interface PatternPart {
  readonly text: string;
  /** Undefined: it has to be just this. */
  readonly expression: RegExp | undefined;
}

/** What a pattern comes to. */
export interface ParsedPattern {
  /** `FORMAT:`, or nothing. */
  readonly before: string;
  readonly parts: readonly PatternPart[];
  readonly name: string | undefined;
}

/** What is wrong with a pattern; undefined: nothing. */
export function patternProblem(pattern: string): string | undefined {
  const { path } = parseImage(pattern);
  if (!path.startsWith("/")) return "expected a pattern that begins with /, or with FORMAT:/";
  const parts = path.slice(1).split("/");
  if (parts.some((part) => part === "" || part === "." || part === ".."))
    return 'expected a pattern without "//", "." and "..", which does not end with /';
  if (path.includes("**")) return 'expected a pattern without "**": * stands for part of one name';
  try {
    for (const part of parts) parsePart(part);
  } catch {
    return "expected a pattern in which each [ has its ]";
  }
  return undefined;
}

/** Takes a pattern apart of which patternProblem has nothing to say. */
export function parsePattern({ pattern, name }: ImagePattern): ParsedPattern {
  const { format, path } = parseImage(pattern);
  return {
    before: format === undefined ? "" : `${format}:`,
    parts: path.slice(1).split("/").map(parsePart),
    name,
  };
}

/** The name of a guest by the path of its image; `stars`: what the pattern's `*` stand for. */
export function guestNameOf(path: string, name: string | undefined, stars: readonly string[]): string {
  if (name === undefined) return basename(path, extname(path));
  return name.replace(/\$([1-9])/g, (_, digit: string) => stars[Number(digit) - 1] ?? "");
}

function parsePart(text: string): PatternPart {
  if (!/[*?[]/.test(text)) return { text, expression: undefined };
  const source = text.replace(
    /\*|\?|\[(!?)([^\]]+)\]|[\\^$.*+?()[\]{}|]/g,
    (found, not: string, set: string) => {
      if (found === "*") return "(.*)";
      if (found === "?") return ".";
      if (found === "[") throw new SyntaxError("a [ has no ]");
      if (set !== undefined) return `[${not === "!" ? "^" : ""}${set.replace(/[\\^[]/g, "\\$&")}]`;
      return `\\${found}`;
    },
  );
  // As in the shell, what begins with a dot has to be written with it.
  const hidden = text.startsWith(".") ? "" : "(?!\\.)";
  return { text, expression: new RegExp(`^${hidden}${source}$`, "su") };
}
