/** qemu-nbd, which reads disks of other formats than raw and offers them by NBD: how it is started, and what it says. */
import { basename, join } from "node:path";
import { ImageError } from "../images/image-error.js";
import { parseNbdUrl } from "../images/nbd/url.js";
import { backingFormats } from "./backing-formats.js";
import type { ServingPlace } from "./nbdkit.js";

export const QEMU_NBD = "qemu-nbd";
export const QEMU_IMG = "qemu-img";

/** s for which it waits when whoever has the image's bytes is gone. */
const RECONNECT_DELAY = 30;

/** Formats of which an image is one file, and names no other. */
const SELF_CONTAINED = new Set(["vdi", "vhdx", "vpc"]);

/** What it says of an image that somebody writes to, in part. */
export const IN_USE = "Failed to get shared lock";

/** A disk that qemu-nbd is to offer. */
export interface ConvertedDisk extends ServingPlace {
  /** Absolute, or what else the image is named by. */
  readonly path: string;
  /** Where the image's bytes are read, if not at its path: an NBD URL. */
  readonly url: string | undefined;
  /** A driver of QEMU's. */
  readonly format: string;
}

/** A place to serve one at. `folder`: one of this process's own, where no other disk has that number. */
export function servingPlace(folder: string, number: number): ServingPlace {
  const place = join(folder, `${number}`);
  return { socket: `${place}.sock`, pidFile: `${place}.pid` };
}

/**
 * The arguments with which qemu-nbd offers a disk, for reading alone. It locks the image, as QEMU does, so that nobody
 * writes to it meanwhile; or, if it `yields`, takes no lock. `image`: as imageArguments has it.
 */
export function qemuNbdArguments(
  { path, socket, pidFile }: ConvertedDisk,
  image: readonly string[],
  yields = false,
): string[] {
  return [
    "--read-only",
    "--shared=16",
    `--socket=${socket}`,
    `--pid-file=${pidFile}`,
    // So that an image's URL tells which it is.
    `--export-name=${path}`,
    ...image.slice(0, -1),
    `${image.at(-1)}${yields ? ",read-only=on,force-share=on" : ""}`,
  ];
}

/**
 * What names the image to QEMU's programs, with the format of all that it lies on. Generates the arguments of a `qemu-img`
 * to be run, and is given what that printed, "" if it failed. Throws ImageError. `log`: as backingFormats has it.
 */
export function* imageArguments(
  { path, url, format }: ConvertedDisk,
  log: (line: string) => void,
): Generator<string[], string[], string> {
  if (url === undefined) {
    const below = yield* backingFormats(path, format, log);
    const file = `file.filename=${path.replaceAll(",", ",,")}`;
    return ["--image-opts", [`driver=${format}`, file, ...below].join(",")];
  }
  if (format !== "qcow2" && !SELF_CONTAINED.has(format))
    throw new ImageError(path, `a ${format} disk is read from files of this host alone; convert it to qcow2`);
  const { place, name } = parseNbdUrl(url);
  const server =
    "path" in place ? { type: "unix", ...place } : { type: "inet", host: place.host, port: `${place.port}` };
  const file = { driver: "nbd", server, export: name, "reconnect-delay": RECONNECT_DELAY };
  // It may be anybody's who could write it: no file of this host's is read for it.
  const backing = format === "qcow2" ? { backing: null } : {};
  const image = `json:${JSON.stringify({ driver: format, file, ...backing })}`;
  const info = yield ["info", "--output=json", "--", image];
  if (/"(full-)?backing-filename"|"data-file"/.test(info))
    throw new ImageError(path, "it lies on another image, which is followed for files of this host alone");
  return [image];
}

/** The URL by which a disk is read at a place where an export has that name. */
export function urlOf(path: string, { socket }: ServingPlace): string {
  const encode = (text: string): string => text.split("/").map(encodeURIComponent).join("/");
  return `nbd+unix:///${encode(path)}?socket=${encode(socket)}`;
}

/** Why qemu-nbd does not offer a disk. `code`: of the failure to start it; `said`: its error output. */
export function refusal({ path, format }: ConvertedDisk, code: string | undefined, said: string): ImageError {
  if (code === "ENOENT")
    return new ImageError(
      path,
      `this is a ${format} disk, which ${QEMU_NBD} is needed for; install it (Debian: qemu-utils)`,
    );
  if (/Failed to get .*lock/.test(said))
    return new ImageError(
      path,
      `a running QEMU has this ${format} disk in use, so it cannot be read past it; have that QEMU export it by NBD, and name the URL`,
    );
  const [line = ""] = said.split("\n").filter((text) => text.trim() !== "");
  const why = line.replace(/^\S*qemu-nbd: /, "") || (code ?? "it ended");
  return new ImageError(path, `${QEMU_NBD} cannot read it as ${format} (${why}); check ${basename(path)}`);
}
