/** Describing a whole tree, by the project's own code and by the kernel, in the same words. */
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { ExtFileSystem } from "../../src/filesystems/ext/file-system.js";
import type { FastCommit } from "../../src/filesystems/ext/journal/fast-commit.js";
import { Geometry, SUPERBLOCK_OFFSET, Superblock } from "../../src/filesystems/ext/superblock.js";
import { Attributes, type FileSystem, FileType } from "../../src/filesystems/filesystem.js";
import type { Source } from "../../src/images/image.js";
import { EIO, IoError } from "../../src/images/io-error.js";
import { BlockCache } from "../../src/versions/block-cache.js";
import { View } from "../../src/versions/view.js";

/** A node in the words of both sides. */
export interface Described {
  ino: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  size: number;
  blocks: number;
  mtime: string;
  ctime: string;
  /** SHA-256 of a file's bytes, a link's target, nothing for others. */
  content: string;
}

/** An image in memory as a source of bytes. */
export class MemorySource implements Source {
  constructor(readonly bytes: Buffer) {}

  get size(): number {
    return this.bytes.length;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    return this.bytes.copy(target, targetOffset, position, Math.min(position + length, this.bytes.length));
  }
}

/** The file system of an image whose full transactions are in place, with fast commits in force. */
export function withFastCommits(
  image: Buffer,
  fastCommits: readonly FastCommit[],
  log: (line: string) => void,
): FileSystem {
  const geometry = new Geometry(Superblock.at(image, SUPERBLOCK_OFFSET));
  const view = new View(new MemorySource(image), geometry.blockSize, new BlockCache(8 << 20));
  return new ExtFileSystem(
    { geometry, view, journal: undefined, sequence: undefined, isAsAsked: false, fastCommits, badCopies: 0 },
    log,
  );
}

/** Walks a file system. Throws when there are more than `most` nodes. */
export function describeFileSystem(fileSystem: FileSystem, most = 100_000): Map<string, Described> {
  const found = new Map<string, Described>();
  const out = new Attributes();
  const visit = (path: string, ino: number): void => {
    fileSystem.stat(ino, out);
    const type = out.mode & FileType.MASK;
    const described: Described = {
      ino,
      mode: out.mode,
      nlink: out.nlink,
      uid: out.uid,
      gid: out.gid,
      size: out.size,
      blocks: out.blocks,
      mtime: `${out.mtime}.${out.mtimeNsec}`,
      ctime: `${out.ctime}.${out.ctimeNsec}`,
      content: "",
    };
    found.set(path, described);
    if (found.size > most) throw new Error("too many nodes");
    if (type === FileType.REGULAR) {
      if (out.size > 64 << 20) throw new IoError(EIO, `${path} is too large to be looked at`);
      const bytes = Buffer.alloc(out.size);
      fileSystem.read(ino, 0, out.size, bytes, 0);
      described.content = createHash("sha256").update(bytes).digest("hex");
    } else if (type === FileType.LINK) described.content = fileSystem.readlink(ino).toString("latin1");
    if (type !== FileType.DIRECTORY) return;
    const names: [string, number][] = [];
    fileSystem.list(ino, 0, {
      entry(name, nameOffset, nameLength, child) {
        names.push([name.toString("latin1", nameOffset, nameOffset + nameLength), child]);
        return true;
      },
    });
    if (names.filter(([name]) => name === "." || name === "..").length !== 2) {
      throw new Error(`${path} has not its own dots`);
    }
    for (const [name, child] of names) {
      const looked = fileSystem.lookup(ino, Buffer.from(name, "latin1"));
      if (looked !== child) throw new Error(`${path}/${name} is inode ${child} listed, ${looked} looked up`);
      if (name !== "." && name !== "..") visit(`${path}/${name}`, child);
    }
  };
  visit("", fileSystem.rootInode);
  return found;
}

/** Walks a tree that the kernel has mounted. */
export function describeMount(root: string): Map<string, Described> {
  const found = new Map<string, Described>();
  const visit = (path: string): void => {
    const name = join(root, path);
    const stat = lstatSync(name, { bigint: true });
    const mode = Number(stat.mode);
    const type = mode & FileType.MASK;
    let content = "";
    if (type === FileType.REGULAR) content = createHash("sha256").update(readFileSync(name)).digest("hex");
    else if (type === FileType.LINK) content = readlinkSync(name, "latin1");
    found.set(path, {
      ino: Number(stat.ino),
      mode,
      nlink: Number(stat.nlink),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      size: Number(stat.size),
      blocks: Number(stat.blocks),
      mtime: `${stat.mtimeNs / 1_000_000_000n}.${stat.mtimeNs % 1_000_000_000n}`,
      ctime: `${stat.ctimeNs / 1_000_000_000n}.${stat.ctimeNs % 1_000_000_000n}`,
      content,
    });
    if (type !== FileType.DIRECTORY) return;
    for (const child of readdirSync(name)) visit(`${path}/${child}`);
  };
  visit("");
  return found;
}
