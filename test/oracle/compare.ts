/** Walks of a tree (walk.py), and the differences between the kernel's and ours. */
import { join } from "node:path";
import { run } from "../support/images-mount.js";

/** One entry as walk.py tells it; see there. */
export interface WalkedEntry {
  path: string;
  kind?: string;
  mode?: number;
  nlink?: number;
  uid?: number;
  gid?: number;
  size?: number;
  blocks?: number;
  blksize?: number;
  mtime?: string;
  ctime?: string;
  atime?: string;
  ino?: number;
  inoHigh?: number;
  rdev?: [number, number];
  xattrs?: Record<string, string | number>;
  target?: string;
  leads?: { ino?: number; kind?: string; error?: number; outside?: string };
  entries?: number;
  dots?: number[];
  sha?: string;
  dataBlocks?: number;
  odd?: string;
  segments?: string;
  segmentCount?: number;
  errors?: Record<string, number>;
}

/** A walked tree: its statvfs(3) and its entries by path (hexadecimal). */
export interface Walk {
  statfs: Record<string, number>;
  entries: Map<string, WalkedEntry>;
}

const walker = join(import.meta.dirname, "walk.py");
const debugfsWalker = join(import.meta.dirname, "debugfs_walk.py");

/** Reads what a walker printed. */
export function parseWalk(text: string): Walk {
  const lines = text.split("\n");
  const statfs = (JSON.parse(lines[0]!) as { statfs: Record<string, number> }).statfs;
  const entries = new Map<string, WalkedEntry>();
  for (let i = 1; i < lines.length; i++) {
    if (!lines[i]) continue;
    const entry = JSON.parse(lines[i]!) as WalkedEntry;
    entries.set(entry.path, entry);
  }
  return { statfs, entries };
}

/**
 * Walks a tree that the kernel mounted: links are resolved as if it were the root directory. `ask`: attributes that are
 * not listed.
 */
export async function walkKernel(folder: string, ask: readonly string[] = []): Promise<Walk> {
  return parseWalk(await run("python3", [walker, folder, ...ask.flatMap((name) => ["--ask", name])]));
}

/** Walks a tree of ours: links are followed as they are, and must stay within the guest's folder. */
export async function walkOurs(folder: string, guest: string, ask: readonly string[] = []): Promise<Walk> {
  const asked = ask.flatMap((name) => ["--ask", name]);
  return parseWalk(await run("python3", [walker, folder, "--relist", "--contain", guest, ...asked]));
}

/** Walks an image that the kernel cannot mount, through debugfs. */
export async function walkDebugfs(image: string): Promise<Walk> {
  return parseWalk(await run("python3", [debugfsWalker, image]));
}

/** Differences that are known and right. */
export interface Declared {
  /** Fields that the oracle does not tell. */
  readonly untold?: ReadonlyArray<keyof WalkedEntry>;
  /** statvfs(3) is not compared: the recovery of the kernel frees what orphans held. */
  readonly statfs?: false;
  /** The image was recovered by the kernel, not by us. */
  readonly recovery?: Recovery;
}

/**
 * What the kernel's recovery changes by itself. An inode whose change time is later than the recovery's start was
 * changed by it, and by nothing else: nobody writes to the copy.
 */
export interface Recovery {
  /** When it began, nanoseconds since 1970. */
  readonly started: bigint;
  /** Fast commits were replayed, by names to be put in or taken out and ranges to be mapped. */
  readonly fastCommits: boolean;
  /** What the replay of fast commits got wrong. */
  readonly faults?: ReplayFaults;
}

/** What the kernel's replay got wrong: there it is no oracle. */
export interface ReplayFaults {
  /** Inodes that are not as the guest had them, or not there. */
  readonly inodes: ReadonlySet<number>;
  /** Directories that may lack such an inode's name. */
  readonly directories: ReadonlySet<number>;
}

/** What a comparison found. */
export interface Comparison {
  /** One line for each difference. */
  differences: string[];
  compared: number;
  /** Entries of which times and blocks were not compared, because the recovery changed them. */
  excepted: string[];
}

const nodeFields = [
  "kind",
  "mode",
  "nlink",
  "uid",
  "gid",
  "size",
  "blocks",
  "blksize",
  "ino",
  "entries",
] as const;
const contentFields = ["sha", "dataBlocks", "odd", "segments", "segmentCount"] as const;
const timeFields = ["mtime", "ctime", "atime"] as const;
/** What differs when the recovery finishes a truncation that a crash interrupted (the orphan list). */
const truncated: ReadonlyArray<keyof WalkedEntry> = ["mtime", "ctime", "blocks"];
/** What differs when the replay of a fast commit links or unlinks: a directory may need another block for a name. */
const replayed: ReadonlyArray<keyof WalkedEntry> = ["mtime", "ctime", "size"];
/** What the replay of fast commits changes without leaving its time: it lays maps out anew. */
const laidOut: ReadonlyArray<keyof WalkedEntry> = ["blocks"];
/** The same of directories: it miscounts their links. */
const recounted: ReadonlyArray<keyof WalkedEntry> = ["blocks", "nlink"];

/** Whether the recovery left its time on an entry. */
function touchedByRecovery(entry: WalkedEntry, recovery: Recovery | undefined): boolean {
  return recovery !== undefined && BigInt(entry.ctime ?? "0") >= recovery.started;
}

/** The fields of an entry that the recovery changed by itself. */
function changedByRecovery(
  entry: WalkedEntry,
  recovery: Recovery | undefined,
): ReadonlyArray<keyof WalkedEntry> {
  const touched = touchedByRecovery(entry, recovery);
  const isDirectory = entry.kind === "directory";
  if (!recovery?.fastCommits) return touched && entry.kind === "file" ? truncated : [];
  const always = isDirectory ? recounted : laidOut;
  if (!touched) return always;
  return [...always, ...(isDirectory ? replayed : truncated)];
}

/** Leaves out that a listing told other inode numbers than stat(2): some file systems of the oracle's do. */
export function withoutListedNumbers(walk: Walk): Walk {
  for (const entry of walk.entries.values()) {
    delete entry.errors?.dino;
    if (Object.keys(entry.errors ?? {}).length === 0) delete entry.errors;
  }
  return walk;
}

/** A path as an error message shows it. */
export function show(path: string): string {
  const text = JSON.stringify(Buffer.from(path, "hex").toString("latin1"));
  return text.length > 120 ? `${text.slice(0, 60)}…${text.slice(-50)}` : text;
}

/** Compares the walk of the oracle with ours. */
export function compareWalks(kernel: Walk, ours: Walk, declared: Declared = {}): Comparison {
  const differences: string[] = [];
  const excepted: string[] = [];
  const untold = new Set(declared.untold);
  if (declared.statfs !== false) {
    for (const [field, value] of Object.entries(kernel.statfs)) {
      if (ours.statfs[field] !== value)
        differences.push(`statfs.${field}: kernel ${value}, ours ${ours.statfs[field]}`);
    }
  }
  const inoHigh = ours.entries.get("2e")?.inoHigh;
  const faults = declared.recovery?.faults;
  const isFaulty = ({ ino }: WalkedEntry) => faults?.inodes.has(ino as number) === true;
  for (const [path, theirs] of kernel.entries) {
    const mine = ours.entries.get(path);
    if (isFaulty(mine ?? theirs)) {
      excepted.push(path);
      continue;
    }
    if (!mine) {
      differences.push(`${show(path)}: the kernel has it (${theirs.kind}, inode ${theirs.ino}), we do not`);
      continue;
    }
    const changed = changedByRecovery(theirs, declared.recovery);
    if (touchedByRecovery(theirs, declared.recovery)) excepted.push(path);
    const report = (field: string, a: unknown, b: unknown) =>
      differences.push(
        `${show(path)} (${theirs.kind}, inode ${theirs.ino}): ${field}: kernel ${JSON.stringify(a)}, ours ${JSON.stringify(b)}`,
      );
    for (const field of [...nodeFields, ...contentFields, ...timeFields] as const) {
      // A link whose text is rooted in the tree is as long as that; whether it leads to the same, compareLinks() tells.
      if (field === "size" && theirs.kind === "link" && mine.target !== theirs.target) {
        const length = (mine.target ?? "").length / 2;
        if (mine.size !== length) report(field, `a text of ${length} bytes`, mine.size);
        continue;
      }
      if (theirs[field] === mine[field] || untold.has(field) || changed.includes(field)) continue;
      if (field === "entries" && faults?.directories.has(theirs.ino as number)) continue;
      report(field, theirs[field], mine[field]);
    }
    if (`${theirs.rdev}` !== `${mine.rdev}`) report("rdev", theirs.rdev, mine.rdev);
    // The upper half of st_ino names the volume, and is ours.
    if (mine.inoHigh !== inoHigh) report("upper half of st_ino", inoHigh, mine.inoHigh);
    // ".." of a volume's top leads to the folder that it lies in.
    if (path !== "2e" && !untold.has("dots") && `${theirs.dots}` !== `${mine.dots}`)
      report("d_ino of . and ..", theirs.dots, mine.dots);
    if (JSON.stringify(theirs.errors) !== JSON.stringify(mine.errors))
      report("errors", theirs.errors, mine.errors);
    if (!untold.has("xattrs")) compareAttributes(theirs, mine, report);
    compareLinks(theirs, mine, untold, report);
  }
  for (const [path, mine] of ours.entries) {
    if (!kernel.entries.has(path) && !isFaulty(mine))
      differences.push(`${show(path)}: we have it (${mine.kind}, inode ${mine.ino}), the kernel does not`);
  }
  return { differences, compared: kernel.entries.size, excepted };
}

type Report = (field: string, kernel: unknown, ours: unknown) => void;

const hex = (text: string) => Buffer.from(text, "latin1").toString("hex");
const userPrefix = hex("user.");
const guestPrefix = hex("user.guest.");
const ENODATA = 61;

/** Attributes of the guest are under `user.guest.` with us, except its own `user.*`. */
function compareAttributes(theirs: WalkedEntry, mine: WalkedEntry, report: Report): void {
  const expected: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(theirs.xattrs ?? {})) {
    expected[name.startsWith(userPrefix) ? name : guestPrefix + name] = value;
  }
  const got = mine.xattrs ?? {};
  // The VFS lets nobody read user.* of anything but files and directories (xattr_permission), so there is no answer of
  // ours to compare: listed or not, they cannot be read.
  const unreadable = theirs.kind !== "file" && theirs.kind !== "directory";
  for (const name of new Set([...Object.keys(expected), ...Object.keys(got)])) {
    if (unreadable && name in expected && (got[name] === undefined || got[name] === ENODATA)) continue;
    if (expected[name] !== got[name])
      report(`attribute ${Buffer.from(name, "hex").toString("latin1")}`, expected[name], got[name]);
  }
}

/**
 * A link's text is the guest's own as long as it is relative and goes up no more than it may; otherwise ours is another
 * text that leads to what the link leads to inside the guest. Both lead to the same inode, or both to none.
 */
function compareLinks(
  theirs: WalkedEntry,
  mine: WalkedEntry,
  untold: Set<keyof WalkedEntry>,
  report: Report,
): void {
  if (theirs.target === undefined && mine.target === undefined) return;
  const target = Buffer.from(theirs.target ?? "", "hex");
  const climbs = target[0] === 0x2f || `/${target.toString("latin1")}/`.includes("/../");
  if (!climbs && theirs.target !== mine.target) report("link text", theirs.target, mine.target);
  if (mine.leads?.outside) report("leads out of the guest", theirs.leads, mine.leads);
  if (untold.has("leads")) return;
  // To none, for whatever reason: our text may be too long where the guest's has too long a name, say.
  if (theirs.leads?.error !== undefined && mine.leads?.error !== undefined) return;
  if (JSON.stringify(theirs.leads) !== JSON.stringify(mine.leads))
    report("leads to", theirs.leads, mine.leads);
}
