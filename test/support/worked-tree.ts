/** Reading a tree while a guest works on it (work_fat.py), and what its events say. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** What one gets of a file that goes while it is read: ENOENT, ENOTDIR, ESTALE. */
const GONE = new Set([2, 20, 116]);

export interface Seen {
  errors: string[];
  foreign: number;
  files: number;
}

/** Reads all files of a tree; whatever vanishes meanwhile is passed over. */
export function readAll(top: string, seen: Seen): void {
  const attempt = <T>(path: string, action: () => T): T | undefined => {
    try {
      return action();
    } catch (error) {
      const { errno = 0 } = error as NodeJS.ErrnoException;
      if (!GONE.has(-errno)) seen.errors.push(`${path}: errno ${-errno}`);
      return undefined;
    }
  };
  for (const name of attempt(top, () => readdirSync(top)) ?? []) {
    const path = join(top, name);
    if (attempt(path, () => statSync(path).isDirectory()) === true) readAll(path, seen);
    else {
      const bytes = attempt(path, () => readFileSync(path));
      if (bytes === undefined) continue;
      seen.files++;
      const stamp = Number.parseInt(name.slice(0, 2), 16);
      if (bytes.some((byte) => byte !== stamp)) seen.foreign++;
    }
  }
}

/** All names that there are by the events, without what was there before them. */
export function replayed(told: ReadonlyArray<Record<string, unknown>>): Set<string> {
  let names = new Set<string>();
  for (const { event, path, from } of told) {
    if (event === "created") names.add(path as string);
    else if (event === "deleted") names.delete(path as string);
    else if (event === "renamed") {
      const under = `${from as string}/`;
      names.delete(from as string);
      names = new Set(
        [...names].map((name) =>
          name.startsWith(under) ? `${path as string}/${name.slice(under.length)}` : name,
        ),
      );
      names.add(path as string);
    }
  }
  return names;
}

export function namesIn(top: string, below = ""): Set<string> {
  const names = new Set<string>();
  for (const name of readdirSync(join(top, below))) {
    const path = `${below}/${name}`;
    names.add(path);
    if (statSync(join(top, path)).isDirectory()) for (const one of namesIn(top, path)) names.add(one);
  }
  return names;
}

/** The events of a volume, from the tree that shows it. */
export function eventsIn(tree: string): Array<Record<string, unknown>> {
  const text = readFileSync(join(tree, ".events"), "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
