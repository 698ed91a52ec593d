/** A file of YAML, read by a schema: what is wrong is told by file, line and key. */
import { readFileSync } from "node:fs";
import { isMap, isNode, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import type { z } from "zod";
import { meantBy } from "./known-keys.js";

type Path = readonly PropertyKey[];

/** A file that was read. */
export interface YamlFile<Value> {
  /** Undefined: there are problems. */
  readonly value: Value | undefined;
  /** Lines that tell what is wrong. */
  readonly problems: readonly string[];
  /** The line of what is at a path, or of what is around it. */
  lineOf(path: Path): number;
}

/** Reads and checks a file. Throws a system error if it cannot be read. */
export function readYaml<Schema extends z.ZodType>(
  file: string,
  schemaFor: Schema | ((content: unknown) => Schema),
): YamlFile<z.output<Schema>> {
  const lines = new LineCounter();
  const document = parseDocument(readFileSync(file, "utf8"), { lineCounter: lines, prettyErrors: false });
  const lineAt = (offset: number): number => lines.linePos(offset).line;
  if (document.errors.length > 0) {
    const problems = document.errors.map(({ pos: [at], message, code }) => {
      const [line = ""] = message.split("\n");
      return `${file}:${lineAt(at)}: ${code === "DUPLICATE_KEY" ? "a key is there twice" : `no YAML: ${line}`}`;
    });
    return { value: undefined, problems, lineOf: () => 1 };
  }
  const lineOf = (path: Path): number => {
    for (let length = path.length; length > 0; length--) {
      const node = keyNode(document.contents, path.slice(0, length));
      if (node?.range) return lineAt(node.range[0]);
    }
    return document.contents?.range ? lineAt(document.contents.range[0]) : 1;
  };
  const content = withoutNothing(document.toJS({ maxAliasCount: 100 }) ?? {});
  const schema = typeof schemaFor === "function" ? schemaFor(content) : schemaFor;
  const { data, error } = schema.safeParse(content);
  const problems = (error?.issues ?? []).flatMap((issue) =>
    problemsOf(issue, schema, content).map(({ path, text }) => ({ line: lineOf(path), text })),
  );
  return {
    value: data,
    problems: problems.sort((a, b) => a.line - b.line).map(({ line, text }) => `${file}:${line}: ${text}`),
    lineOf,
  };
}

/** A path as users write it: `guests[1].name`. */
export function keyText(path: Path): string {
  return path
    .map((part, index) =>
      typeof part === "number" ? `[${part}]` : `${index === 0 ? "" : "."}${String(part)}`,
    )
    .join("");
}

interface Problem {
  readonly path: Path;
  readonly text: string;
}

function problemsOf(issue: z.core.$ZodIssue, schema: z.ZodType, content: unknown): Problem[] {
  // The only item of a list can stand by itself.
  const isAlone =
    issue.path.at(-1) === 0 && typeof (valueAt(content, issue.path.slice(0, -1)) ?? {}) !== "object";
  const path = isAlone ? issue.path.slice(0, -1) : issue.path;
  const unknown = unknownKeys(issue);
  if (unknown.length > 0)
    return unknown.map((key) => {
      const meant = meantBy(schema, path, key);
      const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
      return { path: [...path, key], text: `${keyText([...path, key])}: there is no such key${hint}` };
    });
  const value = valueAt(content, path);
  if (value === undefined && issue.code !== "custom")
    return [{ path, text: `${keyText(path)}: is missing: ${messageOf(issue)}` }];
  const where = path.length === 0 ? "" : `${keyText(path)}: `;
  const message = messageOf(issue);
  const isSaid = typeof value === "string" && message.startsWith(`${value}: `);
  return [{ path, text: `${where}${message}${isSaid ? "" : shown(value, path)}` }];
}

/** Keys that a schema does not know: also of one within another, which tells it in words. */
function unknownKeys(issue: z.core.$ZodIssue): string[] {
  if (issue.code === "unrecognized_keys") return issue.keys;
  if (issue.code !== "custom" || !/^Unrecognized keys?: /.test(issue.message)) return [];
  return [...issue.message.matchAll(/"([^"]*)"/g)].map(([, key = ""]) => key);
}

const TYPES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  object: "keys with values",
  record: "keys with values",
  array: "a list",
};

/** What is expected, in words: its own ones, where the schema has none. */
function messageOf(issue: z.core.$ZodIssue): string {
  const { message } = issue;
  if (!/^(Invalid|Too) /.test(message)) return message;
  switch (issue.code) {
    case "invalid_type":
      return `expected ${TYPES[issue.expected] ?? issue.expected}`;
    case "invalid_value":
      return `expected ${issue.values.map(String).join(" or ")}`;
    case "too_small":
      return issue.origin === "array"
        ? `expected ${issue.minimum} or more`
        : `expected at least ${issue.minimum}`;
    case "too_big":
      return issue.origin === "array"
        ? `expected at most ${issue.maximum}`
        : `expected no more than ${issue.maximum}`;
    default:
      return message;
  }
}

/** The value, for the end of a message; an address of Redis may have a password in it. */
function shown(value: unknown, path: Path): string {
  if (path.includes("redis") || (typeof value === "object" && !Array.isArray(value))) return "";
  if (Array.isArray(value)) return ", not a list";
  const text = JSON.stringify(value);
  return text === undefined || text.length > 200 ? "" : `, not ${text}`;
}

function valueAt(content: unknown, path: Path): unknown {
  let value = content;
  for (const part of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

/** A key with nothing after it is as if it were not there, but for those where that means "as is usual". */
function withoutNothing(value: unknown, key = ""): unknown {
  if (value === null && key === "libvirt") return {};
  if (Array.isArray(value)) return value.map((item) => withoutNothing(item));
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).map(([name, below]) => [name, withoutNothing(below, name)] as const);
  return Object.fromEntries(kept.filter(([, below]) => below !== null));
}

/** The node of the key, or of the item of a list, at a path; undefined: there is none. */
function keyNode(contents: Node | null, path: Path): Node | undefined {
  let node: unknown = contents;
  let found: unknown;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      found = pair?.key;
      node = pair?.value;
    } else if (isNode(node) && "items" in node && typeof part === "number") {
      found = (node.items as readonly unknown[])[part];
      node = found;
    } else return undefined;
    if (found === undefined) return undefined;
  }
  return isNode(found) ? found : undefined;
}
