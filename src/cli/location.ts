/** `IMAGE[:PATH]`: a file in a guest whose one disk is that image. */
import { existsSync } from "node:fs";
import type { Guest } from "../daemon/guest.js";
import { parseImage, resolveImage } from "../daemon/image-name.js";
import { openImageTree } from "../daemon/one-shot.js";
import { UserError } from "../daemon/user-error.js";
import { type Entry, type Tree, walk } from "../daemon/walk.js";
import { complain } from "./output.js";

/** A file that a user named. */
export interface Location {
  readonly image: string;
  readonly path: Buffer;
}

/** A location, found. */
export interface Found {
  readonly tree: Tree;
  readonly guest: Guest;
  readonly entry: Entry;
}

/** `scheme://...`, and after a colon a path from the guest's root. */
const URL_AND_PATH = /^([a-z+]+:\/\/.*?)(?::(\/.*))?$/s;
/** `nbdkit:...`, and the same: in its words there may be URLs. */
const WORDS_AND_PATH = /^(nbdkit:.*?)(?::(\/(?!\/).*))?$/s;

/**
 * The longest part before a colon that is there is the image: names may have colons too. A URL ends before the first
 * colon that a slash follows.
 */
export function parseLocation(argument: string): Location {
  const [, url, inside] = WORDS_AND_PATH.exec(argument) ?? URL_AND_PATH.exec(argument) ?? [];
  if (url !== undefined) return { image: url, path: Buffer.from(inside ?? "/") };
  const { format, path: rest } = parseImage(argument);
  if (format !== undefined) {
    const { image, path } = parseLocation(rest);
    return { image: `${format}:${image}`, path };
  }
  let image = argument;
  while (!existsSync(image)) {
    const colon = image.lastIndexOf(":");
    if (colon <= 0) {
      const first = argument.indexOf(":");
      image = first > 0 ? argument.slice(0, first) : argument;
      break;
    }
    image = image.slice(0, colon);
  }
  return { image, path: Buffer.from(argument.slice(image.length + 1) || "/") };
}

const HOST = "host";
const GUEST = "guest";

/** Opened images, so that several files of one are read from one tree. */
const opened = new Map<string, { tree: Tree; guest: Guest }>();

/** Opens the image and walks to the file. Throws ImageError or FileSystemError. */
export function find(location: Location, followLast: boolean): Found {
  const image = resolveImage(location.image);
  let known = opened.get(image);
  if (known === undefined) {
    const { tree, guests } = openImageTree(HOST, GUEST, image, complain);
    known = { tree, guest: guests[0] as Guest };
    opened.set(image, known);
  }
  const { tree, guest } = known;
  const shown = guest.disks
    .flatMap(({ volumes }) => volumes)
    .filter(({ fileSystem }) => fileSystem !== undefined);
  if (shown.length === 0) {
    throw new UserError(
      `${location.image}: no file system that can be shown; what is there: slashcloud volumes ${location.image}`,
    );
  }
  const root = walk(tree, { high: 0, low: 1 }, Buffer.from(`${HOST}/${GUEST}`), false);
  if (root.high === 0) {
    const names = shown.map(({ volume }) => `/.volumes/${volume.name}`).join(", ");
    complain(
      `${location.image}: its root file system cannot be told from the others; its volumes are at ${names}`,
    );
  }
  try {
    return { tree, guest, entry: walk(tree, root, location.path, followLast) };
  } catch (error) {
    throw new UserError(`${location.image}:${location.path.toString()}: ${(error as Error).message}`);
  }
}
