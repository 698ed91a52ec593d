/** One image opened for one command, in whatever format and place it is. */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Image, Log } from "../images/image.js";
import { ImageError, NoAnswerError } from "../images/image-error.js";
import { isNbdUrl } from "../images/nbd/url.js";
import { openImage } from "../images/open.js";
import type { GuestSpec } from "./guest-name.js";
import { layersOf } from "./image-layers.js";
import { parseImage } from "./image-name.js";
import { NBDKIT, nbdkitArguments, nbdkitRefusal } from "./nbdkit.js";
import { type OpenTree, openTree } from "./open-tree.js";
import { makeOwnFolder } from "./own-folders.js";
import {
  type ConvertedDisk,
  imageArguments,
  QEMU_IMG,
  QEMU_NBD,
  qemuNbdArguments,
  refusal,
  servingPlace,
  urlOf,
} from "./qemu-nbd.js";

/** ms that a program may take until it serves. */
const PATIENCE = 10_000;
/** ms that the first answer may take of nbdkit: to that end it may decompress all of a disk. */
const LONG_PATIENCE = 15 * 60_000;
/** ms between looks at whether a program serves. */
const LOOK_EVERY = 10;

/**
 * Opens a guest whose one disk is `image`, named as image-name.ts has it. What has to run for that ends with this process.
 * Throws ImageError.
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
  const { nbdkit, format } = layersOf(name, log);
  if (nbdkit === undefined && format === "raw") return open(name.path);
  const folder = makeOwnFolder("disk");
  const convert = (url: string | undefined): T =>
    converted({ path: name.path, url, format, ...servingPlace(folder, 1) }, log, open);
  try {
    if (nbdkit !== undefined) {
      const from = format === "raw" ? open : convert;
      return offered(name.path, nbdkit, folder, from);
    }
    return convert(isNbdUrl(name.path) ? name.path : undefined);
  } finally {
    // Who is connected stays so.
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Calls `open` with the URL of a qemu-nbd, which ends with its last connection. */
function converted<T>(disk: ConvertedDisk, log: Log, open: (url: string) => T): T {
  const timeout = disk.url === undefined ? PATIENCE : LONG_PATIENCE;
  const steps = imageArguments(disk, log);
  let step = steps.next();
  while (!step.done)
    step = steps.next(spawnSync(QEMU_IMG, step.value, { encoding: "utf8", timeout }).stdout ?? "");
  // Without --persistent it ends with its last connection.
  const started = spawnSync(QEMU_NBD, ["--fork", ...qemuNbdArguments(disk, step.value)], {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    timeout,
  });
  const { code } = (started.error ?? {}) as NodeJS.ErrnoException;
  if (code !== undefined || started.status !== 0) throw refusal(disk, code, started.stderr ?? "");
  try {
    return open(urlOf(disk.path, disk));
  } catch (error) {
    kill(disk.pidFile);
    throw error;
  }
}

/** Calls `open` with the URL of an nbdkit, which ends with this thread. */
function offered<T>(image: string, words: readonly string[], folder: string, open: (url: string) => T): T {
  const place = servingPlace(folder, 0);
  const output = join(folder, "said");
  const said = openSync(output, "w");
  const child = spawn(NBDKIT, nbdkitArguments(words, place), { stdio: ["ignore", "ignore", said] });
  closeSync(said);
  let code: string | undefined;
  child.on("error", () => {});
  child.unref();
  if (child.pid === undefined) code = "ENOENT";
  const refused = (): ImageError => nbdkitRefusal(image, code, readFileSync(output, "utf8"));
  const begun = performance.now();
  while (code === undefined && !existsSync(place.pidFile)) {
    if (hasEnded(child.pid as number) || performance.now() - begun > PATIENCE) {
      child.kill("SIGKILL");
      throw refused();
    }
    sleep(LOOK_EVERY);
  }
  if (code !== undefined) throw refused();
  try {
    return patiently(begun + LONG_PATIENCE, () => open(urlOf("", place)));
  } catch (error) {
    child.kill("SIGKILL");
    // It knows better why.
    if (error instanceof ImageError && readFileSync(output, "utf8").includes("error: ")) throw refused();
    throw error;
  }
}

/** Opens what has not answered once more, until a time on performance.now's clock. */
function patiently<T>(until: number, open: () => T): T {
  for (;;) {
    try {
      return open();
    } catch (error) {
      if (!(error instanceof NoAnswerError) || performance.now() > until) throw error;
    }
  }
}

/** Whether a child has, of which nobody could tell this thread yet. proc_pid_stat(5) */
function hasEnded(pid: number): boolean {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    // That is no /proc of this process's: it has to be waited for.
    return false;
  }
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function kill(pidFile: string): void {
  try {
    process.kill(Number.parseInt(readFileSync(pidFile, "utf8"), 10), "SIGTERM");
  } catch {
    // It has ended.
  }
}
