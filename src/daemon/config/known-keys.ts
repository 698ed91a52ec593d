/** Which keys there are at a place of the configuration, and which one a user may have meant. */
import type { z } from "zod";

/** What is behind a schema that says more than which keys there are; see zod's definitions of its types. */
interface Definition {
  readonly type: string;
  readonly innerType?: Schema;
  readonly element?: Schema;
  readonly in?: Schema;
  readonly out?: Schema;
  readonly shape?: Readonly<Record<string, Schema>>;
}

type Schema = z.core.$ZodType;
type Path = readonly PropertyKey[];

const definitionOf = (schema: Schema): Definition => schema._zod.def as unknown as Definition;

/** The keys at a path below a schema; none where there is no map of fixed keys. */
export function keysAt(schema: Schema, path: Path): string[] {
  const found = unwrapped(schema);
  const { type, shape, element } = definitionOf(found);
  const [first, ...rest] = path;
  if (type === "object" && shape !== undefined) {
    if (first === undefined) return Object.keys(shape);
    const next = shape[String(first)];
    return next === undefined ? [] : keysAt(next, rest);
  }
  if (type === "array" && element !== undefined && first !== undefined) return keysAt(element, rest);
  return [];
}

/** The whole names of all keys below a schema, by the last part of each. */
function allKeys(schema: Schema, before: string, found: Map<string, string[]>): Map<string, string[]> {
  const { type, shape, element } = definitionOf(unwrapped(schema));
  if (type === "array" && element !== undefined) allKeys(element, before, found);
  if (type === "object")
    for (const [key, below] of Object.entries(shape ?? {})) {
      const whole = before === "" ? key : `${before}.${key}`;
      found.set(key, [...(found.get(key) ?? []), whole]);
      allKeys(below, whole, found);
    }
  return found;
}

/** What a user may have meant by a key that is not known at a path; undefined: nobody can say. */
export function meantBy(schema: Schema, path: Path, key: string): string | undefined {
  const near = nearest(key, keysAt(schema, path));
  if (near !== undefined) return near;
  const [elsewhere, ...others] = allKeys(schema, "", new Map()).get(key) ?? [];
  return others.length === 0 ? elsewhere : undefined;
}

function unwrapped(schema: Schema): Schema {
  const { type, innerType, in: input, out } = definitionOf(schema);
  if (innerType !== undefined) return unwrapped(innerType);
  if (type !== "pipe" || input === undefined || out === undefined) return schema;
  // Of a transformation, what goes in has keys; after a preprocessing, what comes out.
  return unwrapped(definitionOf(input).type === "transform" ? out : input);
}

/** The word that is written most alike, if any is much alike. */
function nearest(word: string, words: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replace(/[-_\s]/g, "");
  let best: string | undefined;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const one of words) {
    const distance = editDistance(plain(word), plain(one));
    if (distance >= least) continue;
    least = distance;
    best = one;
  }
  return best;
}

/** Letters to add, to leave out, to change, or to swap with the next. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
