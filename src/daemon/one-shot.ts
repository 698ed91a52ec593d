/** One image opened for one command, in whatever format it is. */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import type { Image, Log } from "../images/image.js";
import { openImage } from "../images/open.js";
import type { GuestSpec } from "./guest-name.js";
import { formatOf, parseImage } from "./image-name.js";
import { type OpenTree, openTree } from "./open-tree.js";
import { makeOwnFolder } from "./own-folders.js";
import { convertedDisk, QEMU_NBD, qemuNbdArguments, refusal, urlOf } from "./qemu-nbd.js";

/** ms that qemu-nbd may take until it serves. */
const PATIENCE = 10_000;

/**
 * Opens a guest whose one disk is `image`, a path, FORMAT:PATH or an NBD URL. What has to run for that ends with this
 * process. Throws ImageError.
 */
export function openImageTree(host: string, guest: string, image: string, log: Log): OpenTree {
  return opened(image, log, (name) => openTree(host, [{ name: guest, images: [name] }], log));
}

/** The same of a guest as a user named it, with all its disks. Throws ImageError. */
export function openGuestTree(host: string, { name, images }: GuestSpec, log: Log): OpenTree {
  const next = (names: readonly string[]): OpenTree => {
    const image = images[names.length];
    if (image === undefined) return openTree(host, [{ name, images: names }], log);
    return opened(image, log, (own) => next([...names, own]));
  };
  return next([]);
}

/** The same of the image itself. */
export function openOneImage(image: string, log: Log): Image {
  return opened(image, log, openImage);
}

/** Calls `open` with the name by which an image can be opened now. */
function opened<T>(image: string, log: Log, open: (name: string) => T): T {
  const name = parseImage(image);
  const format = formatOf(name, log);
  if (format === "raw") return open(name.path);
  const folder = makeOwnFolder("disk");
  try {
    const disk = convertedDisk(name.path, format, folder, 0);
    // Without --persistent it ends with its last connection.
    const started = spawnSync(QEMU_NBD, ["--fork", ...qemuNbdArguments(disk)], {
      stdio: ["ignore", "ignore", "pipe"],
      encoding: "utf8",
      timeout: PATIENCE,
    });
    const { code } = (started.error ?? {}) as NodeJS.ErrnoException;
    if (code !== undefined || started.status !== 0) throw refusal(disk, code, started.stderr ?? "");
    try {
      return open(urlOf(disk));
    } catch (error) {
      kill(disk.pidFile);
      throw error;
    }
  } finally {
    // Who is connected stays so.
    rmSync(folder, { recursive: true, force: true });
  }
}

function kill(pidFile: string): void {
  try {
    process.kill(Number.parseInt(readFileSync(pidFile, "utf8"), 10), "SIGTERM");
  } catch {
    // It has ended.
  }
}
