/**
 * A guest's mount table (fstab(5)): which of its volumes is the root file system, and where the others go. The table is
 * the guest's to write, so whatever it says, at worst something is not shown.
 */
import type { Log } from "../images/image.js";

/** One line of a mount table. Bytes are the guest's, escapes resolved. */
export interface MountTableEntry {
  /** What is mounted: `UUID=...`, `/dev/...`, or anything that is no volume. */
  readonly source: Buffer;
  readonly mountPoint: Buffer;
  readonly type: string;
  readonly options: readonly string[];
}

/** What a mount table may name a volume by. A name that is not known is "". */
export interface VolumeIdentity {
  /** Ours: `sda1`. Of a logical volume, as the device mapper has it: `vg-lv`, hyphens within either doubled. */
  readonly name: string;
  /** The file system's, in any case. */
  readonly uuid: string;
  readonly label: string;
  /** The partition's. */
  readonly partUuid: string;
  readonly partLabel: string;
}

/** A volume and where the guest mounts it. */
export interface Placement {
  /** The volume's name. */
  readonly volume: string;
  /** Absolute, without "." and "..". */
  readonly mountPoint: Buffer;
  /** The names on the way to the mount point, none for the root. */
  readonly names: readonly Buffer[];
}

/** Looks into a volume's file system, by the volume's name. Throws nothing: what cannot be read is not there. */
export interface RootProbe {
  /** Whether the root directory of that file system has something at a path such as `sbin/init`, a link or not. */
  exists(volume: string, path: string): boolean;
  /** The contents of its etc/fstab. */
  mountTable(volume: string): Buffer | undefined;
}

/** Bytes of a mount table that are read; what follows is ignored. */
export const MAX_MOUNT_TABLE = 1024 * 1024;
/** Real tables have some tens. */
const MAX_ENTRIES = 1000;
const MAX_PATH = 4095;
const MAX_NAME = 255;

/** The entries of a mount table. Comments, and lines of fewer than three fields, are passed over as in the guest. */
export function parseMountTable(table: Buffer): MountTableEntry[] {
  const lines = table.toString("latin1", 0, MAX_MOUNT_TABLE).split("\n");
  // A line that was cut would say something else.
  if (table.length > MAX_MOUNT_TABLE) lines.pop();
  const entries: MountTableEntry[] = [];
  for (const line of lines) {
    const fields = line.split(/[ \t\r]+/).filter((field) => field !== "");
    if (fields.length < 3 || fields[0]!.startsWith("#")) continue;
    const [source, mountPoint, type, options = ""] = fields.map(unescapeOctal) as [
      string,
      string,
      string,
      string?,
    ];
    entries.push({
      source: Buffer.from(source, "latin1"),
      mountPoint: Buffer.from(mountPoint, "latin1"),
      type,
      options: options.split(","),
    });
    if (entries.length === MAX_ENTRIES) break;
  }
  return entries;
}

/**
 * Where the volumes go by the mount table of the volume `rootName`, which is the root itself. A parent comes before what
 * is mounted in it. Entries that name no volume of the guest's are logged; those for other things (swap, proc, network
 * file systems, bind mounts, ...) are not.
 */
export function placeVolumes(
  entries: readonly MountTableEntry[],
  volumes: readonly VolumeIdentity[],
  rootName: string,
  log: Log,
): Placement[] {
  const root: Placement = { volume: rootName, mountPoint: Buffer.from("/"), names: [] };
  const mounts = new Map<string, Placement & { isAutomatic: boolean; isSubvolume: boolean }>();
  for (const entry of entries) {
    const isVolume = namer(entry);
    const names = namesOf(entry.mountPoint);
    if (isVolume === undefined || names === undefined || names.length === 0) continue;
    const volume = volumes.find(isVolume)?.name;
    if (volume === undefined) {
      log(`mount table: there is no volume ${quoted(entry.source)} for ${quoted(entry.mountPoint)}`);
      continue;
    }
    const key = `/${names.map((name) => name.toString("latin1")).join("/")}`;
    // Shown also if the guest mounts it on demand only (noauto): the tree is what the table says, since what is mounted
    // just now cannot be seen on the disk. But never in the way of what is mounted at boot.
    const isAutomatic = !entry.options.includes("noauto");
    if (mounts.get(key)?.isAutomatic && !isAutomatic) continue;
    const isSubvolume = entry.options.some((option) => /^subvol(id)?=/.test(option));
    // Of several at one mount point, the last covers the others.
    mounts.set(key, { volume, mountPoint: Buffer.from(key, "latin1"), names, isAutomatic, isSubvolume });
  }

  const placements = [root];
  for (const { volume, mountPoint, names, isSubvolume } of mounts.values()) {
    const earlier = placements.find((placement) => placement.volume === volume);
    // A volume is shown whole, so that the next of its subvolumes would be the same once more.
    if (isSubvolume && earlier !== undefined) {
      log(
        `mount table: the subvolume of ${volume} for ${quoted(mountPoint)} is shown in ${quoted(earlier.mountPoint)}`,
      );
    } else {
      placements.push({ volume, mountPoint, names });
    }
  }
  return placements.sort((a, b) => a.names.length - b.names.length);
}

/** What a root file system must have: etc, and one of these. */
const PROGRAMS = ["usr", "bin", "sbin", "lib"];
/** What else most have; a separate /usr with an etc of its own has few of them. */
const SIGNS = ["etc/fstab", "etc/passwd", "sbin/init", "proc", "sys", "dev", "run", "root", "var", "home"];

/** What the volume of a Windows has: where its registry is. Names are as they are, in the spellings of its versions. */
const WINDOWS = [
  "Windows/System32",
  "Windows/system32",
  "WINDOWS/system32",
  "WINDOWS/System32",
  "WINNT/system32",
].map((folder) => `${folder}/config`);

/**
 * The name of the volume that is the guest's root file system: the first whose own mount table says so; otherwise the one
 * that most looks like one, or has a Windows; otherwise the only one; otherwise undefined.
 */
export function chooseRoot(volumes: readonly VolumeIdentity[], probe: RootProbe): string | undefined {
  const own = volumes.find((volume) => {
    const table = probe.mountTable(volume.name);
    return table !== undefined && saysItIsRoot(volume, parseMountTable(table));
  });
  if (own !== undefined) return own.name;

  let best: string | undefined;
  let mostSigns = -1;
  for (const { name } of volumes) {
    if (!probe.exists(name, "etc") || !PROGRAMS.some((path) => probe.exists(name, path))) continue;
    const signs = SIGNS.filter((path) => probe.exists(name, path)).length;
    if (signs <= mostSigns) continue;
    best = name;
    mostSigns = signs;
  }
  best ??= volumes.find(({ name }) => WINDOWS.some((path) => probe.exists(name, path)))?.name;
  return best ?? (volumes.length === 1 ? volumes[0]!.name : undefined);
}

function saysItIsRoot(volume: VolumeIdentity, entries: readonly MountTableEntry[]): boolean {
  const root = entries.findLast((entry) => namesOf(entry.mountPoint)?.length === 0);
  return root !== undefined && namer(root)?.(volume) === true;
}

type Namer = (volume: VolumeIdentity) => boolean;

/** How an entry names its volume; undefined if what it mounts is no volume. */
function namer({ source, type, options }: MountTableEntry): Namer | undefined {
  if (type === "swap" || options.includes("bind") || options.includes("rbind")) return undefined;
  const spec = source.toString("latin1");
  const tag = /^(UUID|LABEL|PARTUUID|PARTLABEL)=(.*)$/s.exec(spec);
  if (tag !== null) return byTag(tag[1]!, unquoted(tag[2]!));
  const link = /^\/dev\/disk\/by-(uuid|label|partuuid|partlabel)\/([^/]+)$/.exec(spec);
  if (link !== null) return byTag(link[1]!.toUpperCase(), unescapeHex(link[2]!));
  if (!spec.startsWith("/dev/")) return undefined;
  const name = nameOfDevice(spec);
  return (volume) => volume.name === name;
}

function byTag(tag: string, bytes: string): Namer {
  const value = Buffer.from(bytes, "latin1").toString("utf8");
  const identifier = value.toLowerCase();
  // An empty value names nothing, least of all the volumes without a label.
  if (value === "") return () => false;
  switch (tag) {
    case "UUID":
      return (volume) => volume.uuid.toLowerCase() === identifier;
    case "PARTUUID":
      return (volume) => volume.partUuid.toLowerCase() === identifier;
    case "LABEL":
      return (volume) => volume.label === value;
    default:
      return (volume) => volume.partLabel === value;
  }
}

/** Our name for a device of the guest's, whatever bus its disks hang on; undefined for what is no volume's. */
function nameOfDevice(path: string): string | undefined {
  const lettered = /^\/dev\/(?:sd|vd|xvd|hd)([a-z]+\d*)$/.exec(path);
  if (lettered !== null) return `sd${lettered[1]}`;
  // Controllers and namespaces count from 0 and from 1; a guest's disks mostly have a controller each.
  const numbered = /^\/dev\/(?:mmcblk(\d{1,4})|nvme(\d{1,4})n(\d{1,4}))(?:p(\d+))?$/.exec(path);
  if (numbered !== null) {
    const [, card, controller, namespace, partition = ""] = numbered;
    const index = card !== undefined ? Number(card) : Number(controller) + Number(namespace) - 1;
    return index < 0 ? undefined : diskName(index) + partition;
  }
  const mapped = /^\/dev\/(?:mapper\/|disk\/by-id\/dm-name-)([^/]+)$/.exec(path);
  if (mapped !== null) return unescapeHex(mapped[1]!);
  const logical = /^\/dev\/([^/]+)\/([^/]+)$/.exec(path);
  if (logical === null) return undefined;
  const [group, volume] = [logical[1]!, logical[2]!].map((name) => name.replaceAll("-", "--"));
  return `${group}-${volume}`;
}

/** Our name for a guest's disk by its place among them, from 0: sda to sdz, sdaa, ... as the kernel names SCSI disks. */
export function diskName(index: number): string {
  let letters = "";
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1) {
    letters = String.fromCharCode(0x61 + (rest % 26)) + letters;
  }
  return `sd${letters}`;
}

/** The names of a path from the root on; undefined if it is relative or cannot exist. */
function namesOf(path: Buffer): Buffer[] | undefined {
  const text = path.toString("latin1");
  if (!text.startsWith("/") || text.length > MAX_PATH || text.includes("\0")) return undefined;
  const names: string[] = [];
  for (const name of text.split("/")) {
    if (name === "" || name === ".") continue;
    if (name === "..") names.pop();
    else if (name.length > MAX_NAME) return undefined;
    else names.push(name);
  }
  return names.map((name) => Buffer.from(name, "latin1"));
}

/** fstab's own escapes: \040 for a space. */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8) & 255));
}

/** udev's and the device mapper's escapes in names of links: \x20 for a space. */
function unescapeHex(name: string): string {
  return name.replace(/\\x([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function unquoted(value: string): string {
  const quote = value[0];
  return value.length >= 2 && (quote === '"' || quote === "'") && value.endsWith(quote)
    ? value.slice(1, -1)
    : value;
}

/** A guest's text for the log: in quotes, without line ends, and not longer than a line should be. */
function quoted(bytes: Buffer): string {
  return JSON.stringify(bytes.toString("utf8", 0, MAX_NAME));
}
