/** qemu-nbd, which reads disks of other formats than raw and offers them by NBD: how it is started, and what it says. */
import { basename, join } from "node:path";
import { ImageError } from "../images/image-error.js";

export const QEMU_NBD = "qemu-nbd";

/** What it says of an image that somebody writes to, in part. */
export const IN_USE = "Failed to get shared lock";

/** A disk that qemu-nbd is to offer. */
export interface ConvertedDisk {
  /** Absolute. */
  readonly path: string;
  /** A driver of QEMU's. */
  readonly format: string;
  /** Where qemu-nbd is to listen. */
  readonly socket: string;
  /** Where it puts its process's number when it can read the disk; it listens before that. */
  readonly pidFile: string;
}

/** `folder`: one of this process's own, where no other disk has that number. */
export function convertedDisk(path: string, format: string, folder: string, number: number): ConvertedDisk {
  const place = join(folder, `${number}`);
  return { path, format, socket: `${place}.sock`, pidFile: `${place}.pid` };
}

/**
 * The arguments with which qemu-nbd offers a disk, for reading alone. It locks the image, as QEMU does, so that nobody
 * writes to it meanwhile; or, if it `yields`, takes no lock.
 */
export function qemuNbdArguments({ path, format, socket, pidFile }: ConvertedDisk, yields = false): string[] {
  const options = `driver=${format},file.filename=${path.replaceAll(",", ",,")},read-only=on,force-share=on`;
  return [
    "--read-only",
    "--shared=16",
    `--socket=${socket}`,
    `--pid-file=${pidFile}`,
    // So that an image's URL tells which it is.
    `--export-name=${path}`,
    ...(yields ? ["--image-opts", options] : [`--format=${format}`, path]),
  ];
}

/** The URL by which a disk is then read. */
export function urlOf({ path, socket }: ConvertedDisk): string {
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
