/**
 * What a user writes to name an image: a path, FORMAT:PATH, or an NBD URL.
 *
 * The format of an image is believed only where a guest has no say in it. A guest whose disk is raw can write anything
 * there, a qcow2 header too, and one that names a file of the host's as its backing file. So what a disk begins with is
 * believed if the image's name says the same (`web.qcow2`), or the user does (`qcow2:/srv/web.img`); else it is raw. Of
 * such an image the header was written by the host, and so was the name of its backing file: QEMU follows it as it does
 * when it runs the guest.
 */
import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs";
import { extname, isAbsolute, resolve } from "node:path";
import { FORMAT_HEAD, formatByContent, formatByName } from "../images/formats.js";
import type { Log } from "../images/image.js";
import { isNbdUrl, resolveNbdUrl } from "../images/nbd/url.js";
import { isRemote } from "../images/remote.js";

/** `FORMAT:PATH`, taken apart. */
const GIVEN = /^([a-z0-9]+):(.+)$/s;

/** An image's name taken apart; an NBD URL is a raw disk at that "path". */
export interface ImageName {
  /** As the user gave it; undefined: the user did not. */
  readonly format: string | undefined;
  readonly path: string;
}

/** Takes a name apart. A file that is there by the whole text is meant, whatever it begins with. */
export function parseImage(image: string): ImageName {
  const [, word = "", path = ""] = isNbdUrl(image) ? [] : (GIVEN.exec(image) ?? []);
  const format = word === "raw" ? word : formatByName(word);
  if (format === undefined || isThere(image)) return { format: undefined, path: image };
  return { format, path };
}

/** The name of an image wherever the process is: with an absolute path, or an NBD URL. Throws ImageError. */
export function resolveImage(image: string): string {
  if (isNbdUrl(image)) return resolveNbdUrl(image);
  const { format, path } = parseImage(image);
  return format === undefined ? resolve(path) : `${format}:${resolve(path)}`;
}

/** Whether it names the same image wherever the process is. */
export function isAbsoluteImage(image: string): boolean {
  return isNbdUrl(image) || isAbsolute(parseImage(image).path);
}

/** Whether an image is there by that path. Of what is remote it is not asked, as it may never answer. */
export function isThere(path: string): boolean {
  return !isNbdUrl(path) && !isRemote(resolve(path)) && existsSync(path);
}

/**
 * The format that an image is to be read in. Of what is remote the content is not looked at: there its name is believed.
 * `log` is told of a disk that looks like another format than it is read in.
 */
export function formatOf({ format, path }: ImageName, log: Log): string {
  if (format !== undefined) return format;
  if (isNbdUrl(path)) return "raw";
  const named = formatByName(extname(path).slice(1));
  if (isRemote(resolve(path))) return named ?? "raw";
  const found = formatByContent(readHead(path));
  if (found === "raw" || found === named) return found;
  log(
    `${path}: begins like a ${found} disk, but any guest can write that: it is read as raw; if it is one, write ${found}:${path}`,
  );
  return "raw";
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
