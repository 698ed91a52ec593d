/** Putting an installation in place, over an older one too, and taking it away. */
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { UserError } from "../user-error.js";
import type { Item } from "./layout.js";
import { contentAt, type Entry, entryOf, type Manifest, manifestPath, readManifest } from "./manifest.js";

export interface InstallOptions {
  /** The folder that the installed system is in: "/" for this one. */
  readonly root: string;
  readonly prefix: string;
  readonly version: string;
}

/** What became of what is the administrator's. */
export interface Installed {
  /** Files that were there and changed: they stay as they are, and what would have come is beside them, as FILE.new. */
  readonly kept: readonly string[];
}

/** Puts all of it in place. Throws UserError before anything is changed if a file is there that is not ours. */
export function install(items: readonly Item[], { root, prefix, version }: InstallOptions): Installed {
  const before = new Map(readManifest(root, prefix)?.entries.map((entry) => [entry.path, entry]));
  const foreign = items.find((item) => isForeign(item, before, root));
  if (foreign !== undefined) {
    throw new UserError(
      `${join(root, foreign.path)} is there already, and no earlier install with this --prefix has put it there: move it away, or choose another --prefix`,
    );
  }
  const kept = new Set(items.filter((item) => isChanged(item, before, root)).map(({ path }) => path));
  const entries = items.flatMap((item) => {
    // Not ours to take away: directories that were there.
    if (item.kind === "directory" && !before.has(item.path) && contentAt(join(root, item.path))) return [];
    if (kept.has(item.path))
      return [{ ...entryOf(item), path: `${item.path}.new` }, ...known(before.get(item.path))];
    return [entryOf(item)];
  });
  const paths = new Set(entries.map(({ path }) => path));
  const gone = [...before.values()].filter(({ path }) => !paths.has(path));
  // First, with what is yet to be taken away: should this be cut off, all can still be found.
  const manifest = join(root, manifestPath(prefix));
  mkdirSync(dirname(manifest), { recursive: true });
  writeManifest(manifest, { version, entries: [...gone, ...entries] });
  for (const item of items) {
    const isKept = kept.has(item.path);
    put(isKept ? { ...item, path: `${item.path}.new` } : item, root);
    if (!isKept && item.kind === "file" && item.isConfiguration)
      rmSync(join(root, `${item.path}.new`), { force: true });
  }
  takeAway(gone, root);
  // A directory that is in use, as a mount point is, is still to be taken away some day.
  const inUse = gone.filter(({ path, kind }) => kind === "directory" && isStillThere(join(root, path)));
  writeManifest(manifest, { version, entries: [...entries, ...inUse] });
  return { kept: [...kept] };
}

/**
 * Takes away what install put in place, and nothing else; returns the paths of files that were changed since then, which
 * stay. Throws UserError if there is nothing.
 */
export function uninstall(root: string, prefix: string): string[] {
  const manifest = readManifest(root, prefix);
  if (manifest === undefined) {
    throw new UserError(
      `${join(root, manifestPath(prefix))} is not there: nothing was installed with this --prefix (a Debian package goes by apt remove slashcloud)`,
    );
  }
  rmSync(join(root, manifestPath(prefix)));
  return takeAway(manifest.entries, root);
}

const known = (entry: Entry | undefined): Entry[] => (entry === undefined ? [] : [entry]);

function writeManifest(path: string, manifest: Manifest): void {
  writeFileSync(`${path}.part`, `${JSON.stringify(manifest)}\n`, { mode: 0o644 });
  renameSync(`${path}.part`, path);
}

/** Without asking who serves what is mounted there. */
function isStillThere(path: string): boolean {
  return readdirSync(dirname(path)).includes(basename(path));
}

/** Whether something else is where an item goes. */
function isForeign(item: Item, before: ReadonlyMap<string, Entry>, root: string): boolean {
  const there = contentAt(join(root, item.path));
  if (there === undefined || (item.kind === "file" && item.isConfiguration)) return false;
  if (item.kind === "directory")
    return there.kind !== "directory" && !isLinkToDirectory(join(root, item.path));
  return !before.has(item.path) || there.kind === "directory";
}

/** As /lib is on systems that have merged it into /usr. */
function isLinkToDirectory(path: string): boolean {
  return contentAt(`${path}/`)?.kind === "directory";
}

/** Whether a configuration is there that is neither the one that comes now nor the one that came before. */
function isChanged(item: Item, before: ReadonlyMap<string, Entry>, root: string): boolean {
  if (item.kind !== "file" || !item.isConfiguration) return false;
  const there = contentAt(join(root, item.path));
  if (there === undefined || there.content === entryOf(item).content) return false;
  return there.content !== before.get(item.path)?.content;
}

function put(item: Item, root: string): void {
  const path = join(root, item.path);
  if (item.kind === "directory") {
    mkdirSync(path, { recursive: true, mode: item.mode });
    return;
  }
  const there = contentAt(path);
  if (there?.kind === item.kind && there.content === entryOf(item).content) return;
  // In one step, so that a program that is in use is never half there.
  const part = `${path}.slashcloud-part`;
  rmSync(part, { force: true });
  if (item.kind === "link") symlinkSync(item.target, part);
  else {
    writeFileSync(part, item.content, { mode: item.mode });
    chmodSync(part, item.mode);
  }
  renameSync(part, path);
}

/** Returns what stays as it was changed. */
function takeAway(entries: readonly Entry[], root: string): string[] {
  const changed: string[] = [];
  for (const { path, kind, content } of entries) {
    if (kind === "directory") continue;
    const at = join(root, path);
    const there = contentAt(at);
    if (there === undefined) continue;
    if (there.kind === kind && there.content === content) rmSync(at);
    else changed.push(path);
  }
  const directories = entries.filter(({ kind }) => kind === "directory").map(({ path }) => path);
  for (const path of directories.sort((a, b) => b.length - a.length)) {
    try {
      rmdirSync(join(root, path));
    } catch {
      // Others have something in it, or it is a mount point that is in use.
    }
  }
  return changed;
}
