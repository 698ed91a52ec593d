/**
 * Whether an image lies on storage that may stall: across a network, or behind another program. Found out without asking
 * that storage anything, as it might never answer: from the table of mounts, from sysfs, and from the directories and
 * links on the way, as far as they are not on such storage themselves.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { deviceName } from "./block-device.js";
import { isNamedElsewhere } from "./named-elsewhere.js";

/** Types of file systems, as /proc/self/mountinfo names them. */
const REMOTE_TYPES = new Set([
  "9p",
  "acfs",
  "afs",
  "autofs",
  "beegfs",
  "ceph",
  "cifs",
  "coda",
  "fuse",
  "fuseblk",
  "gfs2",
  "gpfs",
  "lustre",
  "ncpfs",
  "nfs",
  "nfs4",
  "ocfs2",
  "orangefs",
  "pvfs2",
  "smb3",
  "smbfs",
  "vboxsf",
  "virtiofs",
]);
/** Names of block devices in sysfs whose disk is elsewhere. */
const REMOTE_DEVICES = /^(nbd\d|rbd\d|drbd\d|etherd!)/;
/** Parts of the sysfs paths of disks that come by iSCSI, and by NVMe across a fabric. */
const REMOTE_PATHS = /\/session\d+\/|\/nvme-fabrics\//;
/** The kernel follows no more links in one path. */
const MOST_LINKS = 40;
/** Devices on devices, and files on devices in files. */
const DEEPEST = 16;

interface Mount {
  readonly point: string;
  readonly type: string;
  readonly device: string;
  readonly source: string;
}

/** Whether what an absolute path or a URL names may stall. False for what is not there. */
export function isRemote(image: string): boolean {
  return isNamedElsewhere(image) || new Storage(mounts()).isRemote(image, 0);
}

/** The same question for many images, all as it is now: what lies on one file system is found out once. */
export function storageNow(): (image: string) => boolean {
  const storage = new Storage(mounts());
  return (image) => isNamedElsewhere(image) || storage.isRemote(image, 0);
}

class Storage {
  readonly #mounts: readonly Mount[];
  /** What has been found out: of devices, by major:minor; of mounts, by their points; where links among directories lead. */
  readonly #devices = new Map<string, boolean>();
  readonly #points = new Map<string, boolean>();
  readonly #links = new Map<string, string | undefined>();

  constructor(mounts: readonly Mount[]) {
    this.#mounts = mounts;
  }

  isRemote(path: string, depth: number): boolean {
    if (depth > DEEPEST) return false;
    let rest = path.split("/").filter((name) => name !== "");
    let at = "/";
    let links = 0;
    for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
      // Without a look at it: it may be where something is mounted.
      const next = resolve(at, name);
      if (this.#isOnRemote(next, depth)) return true;
      const target = rest.length > 0 ? this.#linkAt(next) : linkTarget(next);
      if (target === undefined) {
        at = next;
        continue;
      }
      if (++links > MOST_LINKS) return false;
      rest = [...target.split("/").filter((part) => part !== ""), ...rest];
      if (target.startsWith("/")) at = "/";
    }
    return this.#isOnRemote(at, depth) || this.#isRemoteDevice(blockDevice(at), depth);
  }

  #linkAt(folder: string): string | undefined {
    if (!this.#links.has(folder)) this.#links.set(folder, linkTarget(folder));
    return this.#links.get(folder);
  }

  #isOnRemote(path: string, depth: number): boolean {
    const mount = this.#mountOf(path);
    if (mount === undefined) return false;
    const { point } = mount;
    // Further down, the answer may be cut short.
    const known = depth === 0 ? this.#points.get(point) : undefined;
    if (known !== undefined) return known;
    const isOn = this.#isMountRemote(mount, depth);
    if (depth === 0) this.#points.set(point, isOn);
    return isOn;
  }

  #isMountRemote(mount: Mount, depth: number): boolean {
    if (REMOTE_TYPES.has(mount.type) || mount.type.startsWith("fuse.")) return true;
    // Mounts of some types (btrfs) have a device number of their own, and name the device.
    const { device, source, point } = mount;
    if (!device.startsWith("0:")) return this.#isRemoteDevice(device, depth);
    return source.startsWith("/dev/") && !isWithin(source, point) && this.isRemote(source, depth + 1);
  }

  /** The mount that a path is on: that of the longest mount point, and of several there the last. */
  #mountOf(path: string): Mount | undefined {
    let found: Mount | undefined;
    for (const mount of this.#mounts) {
      if (isWithin(path, mount.point) && mount.point.length >= (found?.point.length ?? 0)) found = mount;
    }
    return found;
  }

  /** `device`: major:minor; "": it is none. */
  #isRemoteDevice(device: string, depth: number): boolean {
    if (device === "" || depth > DEEPEST) return false;
    const known = depth === 0 ? this.#devices.get(device) : undefined;
    if (known !== undefined) return known;
    const isIt = this.#isDeviceRemote(device, depth);
    if (depth === 0) this.#devices.set(device, isIt);
    return isIt;
  }

  #isDeviceRemote(device: string, depth: number): boolean {
    let folder: string;
    try {
      folder = realpathSync(`/sys/dev/block/${device}`);
    } catch {
      return false;
    }
    const parts = folder.split("/");
    if (parts.some((part) => REMOTE_DEVICES.test(part)) || REMOTE_PATHS.test(folder)) return true;
    // A partition has its disk's folder around it.
    return [folder, dirname(folder)].some((disk) => {
      const backing = readText(`${disk}/loop/backing_file`);
      if (backing.startsWith("/") && this.isRemote(backing, depth + 1)) return true;
      return slaves(disk).some((slave) => this.#isRemoteDevice(slave, depth + 1));
    });
  }
}

/** Undefined: it is no link, or not there. */
function linkTarget(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}

function blockDevice(path: string): string {
  try {
    const stats = statSync(path);
    return stats.isBlockDevice() ? deviceName(stats.rdev) : "";
  } catch {
    return "";
  }
}

function isWithin(path: string, folder: string): boolean {
  return folder === "/" || path === folder || path.startsWith(`${folder}/`);
}

function mounts(): Mount[] {
  return readText("/proc/self/mountinfo").split("\n").flatMap(parseMount);
}

/** One line of proc_pid_mountinfo(5). */
function parseMount(line: string): Mount[] {
  const [before = "", after = ""] = line.split(" - ");
  const [, , device, , point] = before.split(" ");
  const [type, source] = after.split(" ");
  if (device === undefined || point === undefined || type === undefined || source === undefined) return [];
  return [{ point: unescaped(point), type, device, source: unescaped(source) }];
}

/** Blanks and backslashes are octal there. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The devices that a device is made of, as major:minor. */
function slaves(folder: string): string[] {
  try {
    return readdirSync(`${folder}/slaves`).map((name) => readText(`${folder}/slaves/${name}/dev`));
  } catch {
    return [];
  }
}

/** A file's text without the line end at its end; "" if there is none to be had. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").replace(/\n$/, "");
  } catch {
    return "";
  }
}
