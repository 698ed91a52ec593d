import { spawnSync } from "node:child_process";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { MountError, mountAt, prepareMountPoint, SOURCE, TYPE } from "../mountpoint.js";
import { forgetExports } from "./nfs-server.js";

const DEVICE = "/dev/fuse";

/**
 * How far the kernel reads ahead, KiB. A 1 GiB file of a tree over a page-cached image: medians of 5 to 7 rounds were
 * 1.4-2.0 GB/s at 128 KiB, 1.5-2.5 at 256 to 2048 and less above, the server's processor time per GiB 0.32 s at 128 and
 * 0.21 from 512 on. At 1024, READ's largest size, each request is a whole one.
 */
const READ_AHEAD_KIB = 1024;

/** How an unmount ended. `detached`: gone from the tree of directories, served until the last open file is closed. */
export type Unmounted = "unmounted" | "detached" | "aborted";

/** A mounted file system. */
export interface KernelMount {
  /** The descriptor of /dev/fuse; any thread of the process may serve it (FuseServer) or write to it (Notifier). */
  readonly fd: number;
  /** Where it is mounted: absolute, without links. */
  readonly path: string;
  /** `major:minor` of the file system, as /sys/class/bdi names it. */
  readonly device: string;
  /**
   * Unmounts; the serving thread's `serve()` then returns. If files are open, they are served until they are closed
   * ("detach"), or whoever holds them gets errors from now on ("abort"): a process that ends needs the latter, as it
   * cannot exit while a thread of its own is blocked in a read of /dev/fuse. Throws MountError if it is not possible.
   */
  unmount(busy: "detach" | "abort"): Unmounted;
  /** Closes the descriptor; for when nobody reads from it any more. */
  close(): void;
}

/** Opens /dev/fuse and mounts at `path`: openDevice and mountDevice in one. Throws MountError. */
export function mount(path: string): KernelMount {
  const fd = openDevice(path);
  try {
    return mountDevice(fd, path);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Opens /dev/fuse, for a mount at `path`. Throws MountError. */
export function openDevice(path: string): number {
  if (process.geteuid?.() !== 0) {
    throw new MountError(
      "privilege",
      `mounting at ${path} needs root: run as root, or use the libfuse driver`,
    );
  }
  try {
    return openSync(DEVICE, "r+");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") {
      throw new MountError(
        "privilege",
        `no permission to open ${DEVICE}: give this process access to the device`,
      );
    }
    throw new MountError(
      "missing",
      `${DEVICE} is missing (${code}): load the kernel's module (modprobe fuse)`,
    );
  }
}

/**
 * Mounts a FUSE file system at `path`, read-only, for every user, with the kernel checking permissions. A mount of
 * ours that a killed process left there is replaced. Requests can be read from the descriptor `fd` of /dev/fuse after
 * that, not before. Throws MountError.
 */
export function mountDevice(fd: number, path: string): KernelMount {
  const point = prepareMountPoint(path, (dead) => run("umount", [...UMOUNT, "-l", "--", dead]));
  run("mount", ["-i", "-t", TYPE, "-o", OPTIONS, "--", SOURCE, point], fd);
  const mounted = mountAt(point);
  if (mounted === undefined) throw new MountError("failed", `${point} was unmounted at once`);
  raiseReadAhead(mounted.device);
  forgetExports();
  return mountOf(fd, point, mounted.device);
}

/** What another process has mounted at a path, canonical, as the file system `device`, by the descriptor `fd`. */
export function mountOf(fd: number, path: string, device: string): KernelMount {
  return {
    fd,
    path,
    device,
    unmount: (busy) => unmount(path, device, busy),
    close: () => closeSync(fd),
  };
}

/** The descriptor is the child's number 3; rootmode is octal S_IFDIR. */
const OPTIONS = [
  "fd=3",
  "rootmode=40000",
  "user_id=0",
  "group_id=0",
  "allow_other",
  "default_permissions",
  "ro",
  "nosuid",
  "nodev",
  "noexec",
  "noatime",
].join(",");

/**
 * No helper program, and no look at the mount point itself (-c): the path is canonical, and if the serving thread has
 * died, such a look would wait for it for ever.
 */
const UMOUNT = ["-i", "-c"];

/** Allows the kernel to read ahead as far as is best; without the right to (in a container), it reads less ahead. */
function raiseReadAhead(device: string): void {
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(READ_AHEAD_KIB));
  } catch {
    // Slower, and no worse.
  }
}

/**
 * Unmounts what is mounted at `point`, if it still is the file system `device` (as KernelMount has them, whose
 * `unmount` this is). Throws MountError.
 */
export function unmount(point: string, device: string, busy: "detach" | "abort"): Unmounted {
  if (mountAt(point)?.device !== device) return "unmounted";
  forgetExports();
  try {
    run("umount", [...UMOUNT, "--", point]);
    return "unmounted";
  } catch (error) {
    if (mountAt(point)?.device !== device) return "unmounted";
    if (!(error instanceof MountError && error.code === "busy")) throw error;
  }
  if (busy === "detach") {
    run("umount", [...UMOUNT, "-l", "--", point]);
    // A client may have asked meanwhile.
    forgetExports();
    return "detached";
  }
  // Aborts the connection, and fails all the same as long as files are open; detaching then takes it away.
  run("umount", [...UMOUNT, "-f", "-l", "--", point]);
  forgetExports();
  return "aborted";
}

/** Runs mount(8) or umount(8). Throws MountError with what it said. */
function run(command: string, args: string[], fd?: number): void {
  const child = spawnSync(command, args, {
    stdio: fd === undefined ? ["ignore", "ignore", "pipe"] : ["ignore", "ignore", "pipe", fd],
    env: { ...process.env, LC_ALL: "C" },
  });
  if (child.error !== undefined) {
    const { code } = child.error as NodeJS.ErrnoException;
    throw new MountError("missing", `cannot run ${command} (${code}): install util-linux`);
  }
  if (child.status === 0) return;
  const said = (child.stderr as Buffer)
    .toString()
    .trim()
    .replace(/\s*\n\s*/g, " ");
  if (/busy/.test(said)) throw new MountError("busy", said);
  if (/permission denied|must be superuser|not permitted/.test(said)) {
    throw new MountError("privilege", `no right to mount: ${said}`);
  }
  throw new MountError("failed", said === "" ? `${command} failed` : said);
}
