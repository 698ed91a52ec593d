/** What an installation has put on the disk, so that it can be taken away again: a file in the program's folder. */
import { createHash } from "node:crypto";
import { lstatSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../user-error.js";
import { type Item, programFolder } from "./layout.js";

/** One thing that was put there. Paths are as the installed system has them. */
export interface Entry {
  readonly path: string;
  readonly kind: Item["kind"];
  /** Of the content, SHA-256 in hexadecimal; of a link, where it leads. Not for directories. */
  readonly content?: string;
  readonly isConfiguration?: true;
}

export interface Manifest {
  readonly version: string;
  readonly entries: readonly Entry[];
}

/** Where the manifest of an installation with that prefix is. */
export function manifestPath(prefix: string): string {
  return join(programFolder(prefix), "manifest.json");
}

/** `root`: the folder that the installed system is in, "/" for this one. Undefined: there is none. Throws UserError. */
export function readManifest(root: string, prefix: string): Manifest | undefined {
  const path = join(root, manifestPath(prefix));
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return JSON.parse(text) as Manifest;
  } catch {
    throw new UserError(`${path} is damaged: install once more with the same --prefix, which writes it anew`);
  }
}

/** How an item is known again. */
export function entryOf(item: Item): Entry {
  if (item.kind === "directory") return { path: item.path, kind: item.kind };
  if (item.kind === "link") return { path: item.path, kind: item.kind, content: item.target };
  return {
    path: item.path,
    kind: item.kind,
    content: digest(item.content),
    ...(item.isConfiguration && { isConfiguration: true }),
  };
}

/** What is at a path now, in the form of an entry's content; undefined: nothing. */
export function contentAt(path: string): { kind: Item["kind"] | "other"; content: string } | undefined {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  if (stats.isDirectory()) return { kind: "directory", content: "" };
  if (stats.isSymbolicLink()) return { kind: "link", content: readlinkSync(path) };
  if (stats.isFile()) return { kind: "file", content: digest(readFileSync(path)) };
  return { kind: "other", content: "" };
}

function digest(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}
