/** Following an image in this process, version by version. */
import { Attributes, EntryType, type FileSystem } from "../../src/filesystems/filesystem.js";
import type { Follower } from "../../src/filesystems/follower.js";
import { followFileSystem, openFileSystem } from "../../src/filesystems/formats.js";
import { Range } from "../../src/images/range.js";
import { openRawImage } from "../../src/images/raw.js";
import { BlockCache } from "../../src/versions/block-cache.js";

/** The versions that the follower of an image makes of what it finds, one after the other. */
export class Versions {
  readonly #follower: Follower;
  /** As the commits that were found have left it. */
  readonly fileSystem: FileSystem;
  readonly #attributes = new Attributes();
  /** There, "." and ".." are no links. */
  readonly #isNtfs: boolean;
  count = 0;
  /** Whether the last look found more than it took. */
  isWaiting = false;
  log: string[] = [];

  constructor(image: string) {
    const source = new Range(openRawImage(image), 0, Number.POSITIVE_INFINITY);
    const follower = followFileSystem(source, new BlockCache(8 << 20), (line) => this.log.push(line));
    const fileSystem = openFileSystem(source, new BlockCache(8 << 20), (line) => this.log.push(line));
    if (follower === undefined || fileSystem === undefined) throw new Error("cannot be followed");
    this.#isNtfs = fileSystem.type === "ntfs";
    this.#follower = follower;
    this.fileSystem = fileSystem;
  }

  /** Looks once; returns what contradicts itself in the version that there is then. */
  look(): string[] {
    const look = this.#follower.look();
    this.isWaiting = look !== undefined && !("reopen" in look) && look.isWaiting === true;
    if (look === undefined) return [];
    if ("reopen" in look) throw new Error(`to be opened afresh: ${look.reopen}`);
    for (const { commit } of look.steps) this.fileSystem.apply(commit);
    this.count += look.steps.length;
    return look.steps.length === 0 ? [] : this.#contradictions();
  }

  #contradictions(): string[] {
    const found: string[] = [];
    const names = new Map<number, number>();
    const visit = (directory: number) => {
      const entries: Array<{ name: string; ino: number; type: number }> = [];
      try {
        this.fileSystem.list(directory, 0, {
          entry: (buffer, at, length, ino, type) => {
            names.set(ino, (names.get(ino) ?? 0) + 1);
            entries.push({ name: buffer.toString("latin1", at, at + length), ino, type });
            return true;
          },
        });
      } catch (error) {
        found.push(`directory ${directory}: ${(error as Error).message}`);
      }
      if (!entries.some(({ name, ino }) => name === "." && ino === directory))
        found.push(`directory ${directory} has no "."`);
      for (const { name, ino, type } of entries) {
        if (name === "." || name === "..") continue;
        try {
          this.fileSystem.stat(ino, this.#attributes);
          if (type !== EntryType.UNKNOWN && this.#attributes.mode >> 12 !== type)
            found.push(`${name} is of another type`);
          else if (this.#attributes.mode >> 12 === EntryType.DIRECTORY) visit(ino);
        } catch (error) {
          found.push(`${name}: ${(error as Error).message}`);
        }
      }
    };
    visit(this.fileSystem.rootInode);
    for (const [ino, count] of names) {
      try {
        this.fileSystem.stat(ino, this.#attributes);
      } catch {
        // Said above.
        continue;
      }
      if (
        this.#attributes.nlink !== count &&
        !(this.#isNtfs && this.#attributes.mode >> 12 === EntryType.DIRECTORY)
      )
        found.push(`inode ${ino} has ${this.#attributes.nlink} links and ${count} names`);
    }
    return found;
  }
}
