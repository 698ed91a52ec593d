/** What an installation consists of: which file goes where. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { generatedFiles } from "./generated.js";
import { packagesOf } from "./packages.js";

/** Something that is to be there. */
export type Item = { readonly path: string } & (
  | { readonly kind: "directory"; readonly mode: number }
  | { readonly kind: "link"; readonly target: string }
  | {
      readonly kind: "file";
      readonly content: Buffer;
      readonly mode: number;
      /** The administrator's from then on. */
      readonly isConfiguration?: boolean;
    }
);

export interface LayoutOptions {
  /** Where programs go, such as /usr/local; absolute. */
  readonly prefix: string;
  /** How the services start the program: words of a unit's command line. */
  readonly command: string;
  /** The mount point that is made; undefined: none. */
  readonly mount: string | undefined;
}

/** The folder of the program that runs: package.json, dist, node_modules. */
export const PROGRAM = fileURLToPath(new URL("../../..", import.meta.url));
/** Where the configuration is, wherever the program goes. */
export const CONFIGURATION = "/etc/slashcloud";
/** The mount point of the configuration that comes along. */
export const MOUNT = "/cloud";

/** Of the program itself. */
const CODE = /\.(js|json)$/;
/** What of a package nobody needs who only runs it: folders right in it, and files anywhere. */
const NEEDLESS_FOLDERS = /^(\.github|bench(mark)?s?|coverage|docs?|examples?|tests?|__tests__)$/;
const NEEDLESS_FILES = /(\.(map|md|markdown|ts|cts|mts|c|h|gyp|html|yml)|^\.[^/]*|^electron\..*)$/i;

/** The program's folder below a prefix. */
export function programFolder(prefix: string): string {
  return join(prefix, "lib/slashcloud");
}

/** Where systemd looks for units of that prefix (systemd.unit(5)); for others, where the administrator puts them. */
export function unitFolder(prefix: string): string {
  return /^\/usr(\/local)?$/.test(prefix) ? join(prefix, "lib/systemd/system") : "/etc/systemd/system";
}

/** All of it, directories before what is in them. Throws UserError. */
export function layout({ prefix, command, mount }: LayoutOptions): Item[] {
  const items = new Map<string, Item>();
  const add = (item: Item): void => {
    for (let at = dirname(item.path); at !== "/" && !items.has(at); at = dirname(at))
      items.set(at, { kind: "directory", path: at, mode: 0o755 });
    items.set(item.path, item);
  };
  const addFile = (from: string, path: string, options: { mode?: number; isConfiguration?: true } = {}) =>
    add({ kind: "file", path, content: readFileSync(from), mode: options.mode ?? modeOf(from), ...options });
  const program = programFolder(prefix);

  addFile(join(PROGRAM, "package.json"), join(program, "package.json"));
  for (const file of filesBelow(join(PROGRAM, "dist"), CODE))
    addFile(join(PROGRAM, "dist", file), join(program, "dist", file));
  for (const { from, to } of packagesOf(PROGRAM)) {
    for (const file of packageFiles(from)) addFile(join(from, file), join(program, to, file));
  }
  add({ kind: "link", path: join(prefix, "bin/slashcloud"), target: "../lib/slashcloud/dist/main.js" });

  // What may not be there in a program that was built without it.
  for (const name of filesBelow(join(PROGRAM, "systemd"), /^[^/]+\.service$/)) {
    const text = readFileSync(join(PROGRAM, "systemd", name), "utf8");
    const content = Buffer.from(text.replaceAll("/usr/bin/slashcloud", command));
    add({ kind: "file", path: join(unitFolder(prefix), name), content, mode: 0o644 });
    addFile(join(PROGRAM, "systemd", name), join(program, "systemd", name));
  }
  for (const name of filesBelow(join(PROGRAM, "systemd"), /^[^/]+\.yaml$/)) {
    // It may come to hold passwords.
    addFile(join(PROGRAM, "systemd", name), join(CONFIGURATION, name), {
      mode: 0o600,
      isConfiguration: true,
    });
    addFile(join(PROGRAM, "systemd", name), join(program, "systemd", name));
  }
  add({ kind: "directory", path: join(CONFIGURATION, "guests.d"), mode: 0o755 });
  for (const { path, content } of generatedFiles(PROGRAM, prefix))
    add({ kind: "file", path: join(prefix, path), content, mode: 0o644 });
  for (const folder of ["docs", "patches"]) {
    for (const file of filesBelow(join(PROGRAM, folder), /./))
      addFile(join(PROGRAM, folder, file), join(prefix, "share/doc/slashcloud", folder, file), {
        mode: 0o644,
      });
  }
  for (const file of filesBelow(PROGRAM, /^(README\.md|LICENSE)$/))
    addFile(join(PROGRAM, file), join(prefix, "share/doc/slashcloud", file));
  if (mount !== undefined && !items.has(mount)) add({ kind: "directory", path: mount, mode: 0o755 });
  return [...items.values()].sort((a, b) => depth(a) - depth(b) || (a.path < b.path ? -1 : 1));
}

const depth = ({ path }: Item): number => path.split("/").length;

/** 755 for programs, else 644: what the files are is not to hang on who has built them. */
function modeOf(file: string): number {
  return (statSync(file).mode & 0o111) === 0 ? 0o644 : 0o755;
}

/** Paths of the files in a folder and below that fit, in order; none if it is not there. */
function filesBelow(
  folder: string,
  fits: RegExp,
  isFolderWanted: (path: string) => boolean = () => true,
): string[] {
  const found: string[] = [];
  const visit = (below: string): void => {
    for (const entry of readdirSync(join(folder, below), { withFileTypes: true })) {
      const path = join(below, entry.name);
      if (entry.isDirectory()) {
        if (isFolderWanted(path)) visit(path);
      } else if (entry.isFile() && fits.test(path)) found.push(path);
    }
  };
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) visit("");
  return found.sort();
}

/** The files of a package that are needed to run it, and its licence. */
function packageFiles(folder: string): string[] {
  const native = `${process.platform}-${process.arch}`;
  const wanted = (path: string): boolean =>
    path !== "node_modules" &&
    !NEEDLESS_FOLDERS.test(path) &&
    (!/^prebuilds\/./.test(path) || path.endsWith(`/${native}`));
  return filesBelow(folder, /./, wanted).filter((path) => {
    const name = path.slice(path.lastIndexOf("/") + 1);
    return /^licen[cs]e/i.test(name) || !NEEDLESS_FILES.test(name);
  });
}
