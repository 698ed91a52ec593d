import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import type { Tree } from "../cloud/tree.js";
import { Faults, type Log } from "./faults.js";
import { loadFuse } from "./libfuse/binding.js";
import { TreeOperations } from "./libfuse/operations.js";
import { MountError, prepareMountPoint, SOURCE, SUBTYPE } from "./mountpoint.js";

const DEVICE = "/dev/fuse";

/** What a mount through libfuse is made of. */
export interface LibfuseOptions {
  /** The mount point. */
  readonly path: string;
  readonly tree: Tree;
  readonly log: Log;
}

/** A file system mounted through libfuse. */
export interface LibfuseMount {
  /** Where it is mounted: absolute, without links. */
  readonly path: string;
  /** Unmounts; files that are open are served until they are closed or the process ends. Throws MountError. */
  unmount(): Promise<void>;
}

/**
 * Mounts a tree read-only through the npm package fuse-native (libfuse 2), for an ordinary user who has no right to
 * mount: fusermount, which is set-uid root, mounts for him. Requests are answered on the calling thread, between its
 * other work.
 *
 * A user's mount is for that user alone, and shows all files whatever their modes: whoever can read the image could
 * read them anyhow. Root's mount is for all, and the kernel checks the modes.
 *
 * Less than the kernel driver: names that are not UTF-8 are shown with escapes (`\xE9`); inode numbers are libfuse's
 * own, so hard links cannot be told and numbers change with each mount; times have ms and begin in 1970; no birth
 * times, no SEEK_DATA; counts of `df` are rounded to what fits in 32 bits; fstat(2) of an open file asks by its path;
 * nothing is notified, so changes show after a second; no NFS export; a directory that is damaged in the middle is
 * listed up to there without an error.
 *
 * Throws MountError.
 */
export async function mountLibfuse(options: LibfuseOptions): Promise<LibfuseMount> {
  const Fuse = await loadFuse();
  requireFusermount();
  requireDevice();
  const path = prepareMountPoint(options.path, (dead) => {
    spawnSync("fusermount", ["-u", "-z", "--", dead]);
  });
  const root = process.geteuid?.() === 0;
  const operations = new TreeOperations(options.tree, new Faults(options.log));
  const fuse = new Fuse(path, operations, {
    fsname: `${SOURCE},ro,nosuid,nodev,noexec,noatime`,
    subtype: SUBTYPE,
    allowOther: root,
    defaultPermissions: root,
    timeout: false,
  });
  await new Promise<void>((resolve, reject) => {
    fuse.mount((error) => {
      if (error === null) resolve();
      else reject(new MountError("failed", `libfuse cannot mount at ${path}: ${error.message}`));
    });
  });
  return { path, unmount: () => unmount(fuse, path) };
}

function unmount(fuse: InstanceType<Awaited<ReturnType<typeof loadFuse>>>, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    fuse.unmount((error) => {
      if (error === null) resolve();
      else reject(new MountError("failed", `cannot unmount ${path}: ${error.message.split("\n")[0]}`));
    });
  });
}

function requireFusermount(): void {
  const { error } = spawnSync("fusermount", ["-V"], { stdio: "ignore" });
  if (error !== undefined) {
    throw new MountError("missing", "fusermount is missing: install fuse (apt install fuse3)");
  }
}

/** fusermount opens the device with the user's own rights. */
function requireDevice(): void {
  try {
    accessSync(DEVICE, constants.R_OK | constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES") {
      throw new MountError(
        "privilege",
        `no permission to open ${DEVICE}: let users use it (chmod 666 ${DEVICE})`,
      );
    }
    throw new MountError(
      "missing",
      `${DEVICE} is missing (${code}): load the kernel's module (modprobe fuse)`,
    );
  }
}
