/**
 * What a user writes to name an image: a path, a URL, what nbdkit is to offer, or FORMAT: before one of these.
 *
 * The format of an image is believed only where a guest has no say in it. A guest whose disk is raw can write anything
 * there, a qcow2 header too, and one that names a file of the host's as its backing file. So what a disk begins with is
 * believed if the image's name says the same (`web.qcow2`), or the user does (`qcow2:/srv/web.img`); else it is raw. Of
 * such an image the header was written by the host, and so was the name of its backing file: QEMU follows it as it does
 * when it runs the guest.
 */
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { basename, extname, isAbsolute, resolve } from "node:path";
import { FORMAT_HEAD, formatByContent, formatByName } from "../images/formats.js";
import type { Log } from "../images/image.js";
import { isNamedElsewhere, isNbdkitName, isWebUrl } from "../images/named-elsewhere.js";
import { isNbdUrl, resolveNbdUrl } from "../images/nbd/url.js";
import { isRemote } from "../images/remote.js";
import { isAbsoluteNbdkitName, resolveNbdkitName } from "./nbdkit.js";

/** `FORMAT:PATH`, taken apart. */
const GIVEN = /^([a-z0-9]+):(.+)$/s;

/** An image's name taken apart; what is named by something else than a path has that as its "path". */
export interface ImageName {
  /** As the user gave it; undefined: the user did not. */
  readonly format: string | undefined;
  readonly path: string;
}

/** Takes a name apart. A file that is there by the whole text is meant, whatever it begins with. */
export function parseImage(image: string): ImageName {
  const [, word = "", path = ""] = isNamedElsewhere(image) ? [] : (GIVEN.exec(image) ?? []);
  const format = word === "raw" ? word : formatByName(word);
  if (format === undefined || isThere(image)) return { format: undefined, path: image };
  return { format, path };
}

/** The name of an image wherever the process is: with whole paths. Throws ImageError. */
export function resolveImage(image: string): string {
  const { format, path } = parseImage(image);
  return format === undefined ? resolvePath(path) : `${format}:${resolvePath(path)}`;
}

function resolvePath(path: string): string {
  if (isNbdUrl(path)) return resolveNbdUrl(path);
  if (isNbdkitName(path)) return resolveNbdkitName(path);
  return isWebUrl(path) ? path : resolve(path);
}

/** Whether it names the same image wherever the process is. */
export function isAbsoluteImage(image: string): boolean {
  const { path } = parseImage(image);
  if (isNbdkitName(path)) return isAbsoluteNbdkitName(path);
  return isNamedElsewhere(path) || isAbsolute(path);
}

/** Whether an image is there by that path. Of what is remote it is not asked, as it may never answer. */
export function isThere(path: string): boolean {
  return !isNamedElsewhere(path) && !isRemote(resolve(path)) && existsSync(path);
}

/**
 * The format that an image is to be read in. Of what is remote the content is not looked at: there its name is believed.
 * `log` is told of a disk that looks like another format than it is read in.
 */
export function formatOf({ format, path }: ImageName, log: Log): string {
  if (format !== undefined) return format;
  if (isWebUrl(path)) return formatByName(extname(pathOfUrl(path)).slice(1)) ?? "raw";
  if (isNamedElsewhere(path)) return "raw";
  const { believed, found } = believedFormat(path);
  if (found !== believed)
    log(
      `${path}: begins like a ${found} disk, but any guest can write that: it is read as raw; if it is one, write ${found}:${path}`,
    );
  return believed;
}

/** The format of the disk that lies compressed in an image, by the image's name: `web.qcow2.xz`. */
export function formatWithin(path: string): string {
  const name = isWebUrl(path) ? pathOfUrl(path) : path;
  return formatByName(extname(basename(name, extname(name))).slice(1)) ?? "raw";
}

function pathOfUrl(url: string): string {
  return URL.canParse(url) ? new URL(url).pathname : url;
}

/** The format that a path's name and content agree on, else raw; and the one that the content alone would have it be. */
export function believedFormat(path: string): { readonly believed: string; readonly found: string } {
  const named = formatByName(extname(path).slice(1));
  if (isRemote(resolve(path))) return { believed: named ?? "raw", found: named ?? "raw" };
  const found = formatByContent(readHead(path));
  return { believed: found === named ? found : "raw", found };
}

/** The beginning of a file or block device; nothing if it cannot be read, of which whoever opens it tells. */
function readHead(path: string): Buffer {
  const head = Buffer.alloc(FORMAT_HEAD);
  try {
    const stats = statSync(path);
    // To open anything else may wait, or change it.
    if (!stats.isFile() && !stats.isBlockDevice()) return head;
    const fd = openSync(path, "r");
    try {
      readSync(fd, head, 0, head.length, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    // Raw, then.
  }
  return head;
}
