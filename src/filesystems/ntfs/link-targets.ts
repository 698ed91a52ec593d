/**
 * Where links lead, as a Linux guest would have it. Windows has drives, backslashes, and names in whatever case: what lies
 * on the same volume is looked up, so that the target has the names as they are.
 */
import { Errno, FileSystemError, type NamedVolume, type VolumeNames } from "../filesystem.js";
import type { Directories } from "./directory.js";
import { FileNames, Namespace } from "./file-name.js";
import { Inode } from "./inode.js";
import type { Kinds } from "./kind.js";
import { type MasterFileTable, SystemRecord } from "./mft.js";
import { encoded } from "./names.js";
import { readReparsePoint, targetOf, type WindowsTarget } from "./reparse.js";

/** Names of a target that are looked up, and directories above each other. */
const MOST_NAMES = 256;
const BACKSLASH = "\\";
/** The system's drive, which is the guest's root, where nothing says otherwise. */
const SYSTEM_DRIVE = "C";
/** What the volume of the system has. */
const SYSTEM_SIGN = ["Windows", "System32"];

/** Names of bytes, one character each. */
type Names = readonly string[];

export class LinkTargets {
  readonly #mft: MasterFileTable;
  readonly #directories: Directories;
  readonly #kinds: Kinds;
  readonly #inode: Inode;
  readonly #found: Inode;
  readonly #names = new FileNames();
  #isSystem: boolean | undefined;
  /** What the guest calls its volumes, if that is known. */
  volumes: VolumeNames | undefined;

  constructor(mft: MasterFileTable, directories: Directories, kinds: Kinds) {
    this.#mft = mft;
    this.#directories = directories;
    this.#kinds = kinds;
    this.#inode = new Inode(mft);
    this.#found = new Inode(mft);
  }

  /** Forgets what is remembered, when the view has changed. */
  forget(): void {
    this.#isSystem = undefined;
  }

  /** The target of what Kinds says is a link. Throws FileSystemError (EINVAL) for what is none, IoError (EIO). */
  target(link: Inode): Buffer {
    const point = link.isReparsePoint ? readReparsePoint(this.#mft, link) : undefined;
    if (point === undefined) {
      const target = this.#kinds.special(link)?.target;
      if (target === undefined)
        throw new FileSystemError(Errno.EINVAL, `inode ${link.ino} is no symbolic link`);
      return target;
    }
    const target = targetOf(point, link.ino);
    if (target === undefined)
      return Buffer.from(`unsupported reparse tag 0x${point.tag.toString(16).padStart(8, "0")}`);
    if (target.kind === "linux") return Buffer.from(target.path);
    return Buffer.from(this.#translated(target, link), "latin1");
  }

  /** A path from the root on by the names that there are, in whatever case they are given; undefined if it is not there. */
  listed(names: Names): Names | undefined {
    return this.#corrected(SystemRecord.ROOT, names);
  }

  #translated({ path, isRelative }: WindowsTarget, link: Inode): string {
    const text = path.toString("latin1");
    const directory = this.#directories.parent(link);
    const rooted = /^\\(?:\?\?|\\\?|\\\.)\\(.*)$/s.exec(text);
    const rest = rooted?.[1] ?? text;
    const drive = /^([A-Za-z]):(?:\\(.*))?$/s.exec(rest);
    if (drive !== null)
      return this.#onDrive((drive[1] as string).toUpperCase(), namesOf(drive[2] ?? ""), directory);
    const numbered = rooted === null ? null : /^(Volume\{[^\\]*\})(?:\\(.*))?$/is.exec(rest);
    if (numbered !== null) {
      const volume = this.volumes?.find((numbered[1] as string).toUpperCase());
      if (typeof volume === "object") return this.#onVolume(volume, namesOf(numbered[2] ?? ""), directory);
    }
    // Shares of other machines, volumes that are not known: they are not here, and the text says what they are.
    if (rooted !== null || text.startsWith("\\\\")) return `/${namesOf(rest).join("/")}`;
    if (text.startsWith(BACKSLASH)) {
      const names = namesOf(text);
      return this.#fromTop(this.#corrected(SystemRecord.ROOT, names) ?? names, directory);
    }
    const names = namesOf(text);
    if (!isRelative) return `/${names.join("/")}`;
    return (this.#corrected(directory, names) ?? names).join("/") || ".";
  }

  /** `directory`: the one that has the link. */
  #onDrive(drive: string, names: Names, directory: number): string {
    const volume = this.volumes?.find(`${drive}:`);
    if (typeof volume === "object") return this.#onVolume(volume, names, directory);
    if (volume === "elsewhere") return `/${[`${drive}:`, ...names].join("/")}`;
    const isOfSystem = drive === SYSTEM_DRIVE;
    if (isOfSystem) {
      const corrected = this.#isSystemVolume() ? this.#corrected(SystemRecord.ROOT, names) : undefined;
      return `/${(corrected ?? names).join("/")}`;
    }
    // A volume of data does not tell by which letter the guest knows it: if the target is there, it is meant.
    const here = this.#isSystemVolume() ? undefined : this.#corrected(SystemRecord.ROOT, names);
    return here === undefined ? `/${[`${drive}:`, ...names].join("/")}` : this.#fromTop(here, directory);
  }

  /** `directory`: the one that has the link. */
  #onVolume(volume: NamedVolume, names: Names, directory: number): string {
    if (volume.isOwn && volume.path.length > 0)
      return this.#fromTop(this.#corrected(SystemRecord.ROOT, names) ?? names, directory);
    const within = withoutClimbs(names);
    return `/${[...volume.path, ...(volume.listed(within) ?? within)].join("/")}`;
  }

  /** A path from the volume's root on, as it is from a directory: that root may be shown anywhere. */
  #fromTop(names: Names, directory: number): string {
    let depth = 0;
    for (let at = directory; at !== SystemRecord.ROOT; depth++) {
      if (depth === MOST_NAMES)
        throw new FileSystemError(Errno.ELOOP, `directory ${directory} lies in no root`);
      at = this.#directories.parent(this.#inode.load(at));
    }
    return [...Array<string>(depth).fill(".."), ...names].join("/") || ".";
  }

  /**
   * The names as the directories have them, as far as these are no links themselves; undefined if one is not there, as
   * far as can be told.
   */
  #corrected(from: number, names: Names): Names | undefined {
    const corrected: string[] = [];
    let directory = from;
    for (const [index, name] of names.entries()) {
      if (index === MOST_NAMES) return undefined;
      this.#inode.load(directory);
      // What a link or a file has below it is not for us to tell.
      if (this.#inode.isReparsePoint || !this.#inode.isDirectory)
        return [...corrected, ...names.slice(index)];
      if (name === "..") {
        corrected.push(name);
        directory = directory === SystemRecord.ROOT ? directory : this.#directories.parent(this.#inode);
        continue;
      }
      const found = this.#directories.lookup(this.#inode, Buffer.from(name, "latin1"), true, true);
      if (found === 0) return undefined;
      corrected.push(this.#nameIn(directory, found, name));
      directory = found;
    }
    return corrected;
  }

  /** The name by which the tree shows a file in a directory, given one by which it was found. */
  #nameIn(directory: number, ino: number, name: string): string {
    const names = this.#names;
    names.enter(this.#found.load(ino));
    let first: string | undefined;
    while (names.step()) {
      if (names.namespace === Namespace.DOS || names.parent !== directory) continue;
      const own = encoded(names.buffer, names.nameAt, names.length).toString("latin1");
      if (own === name) return own;
      // Of several names in one directory, the one that was meant differs by its case only.
      if (first === undefined || own.toLowerCase() === name.toLowerCase()) first = own;
    }
    return first ?? name;
  }

  #isSystemVolume(): boolean {
    this.#isSystem ??= this.#corrected(SystemRecord.ROOT, SYSTEM_SIGN) !== undefined;
    return this.#isSystem;
  }
}

/** The names of a path but "" and ".". */
function namesOf(path: string): string[] {
  return path.split(BACKSLASH).filter((name) => name !== "" && name !== ".");
}

/** A path from a volume's root on, of which the root is its own parent. */
function withoutClimbs(names: Names): Names {
  const left: string[] = [];
  for (const name of names) {
    if (name === "..") left.pop();
    else left.push(name);
  }
  return left;
}
