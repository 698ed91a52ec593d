/** What lies where on a disk: of each range of bytes, in their order. */
import { diskName } from "../cloud/mount-table.js";
import { BLOCK_KIND_NAMES, BlockKind } from "../filesystems/block-kind.js";
import { crawlBlocks, crawlFileSystem } from "../filesystems/formats.js";
import type { Log, Source } from "../images/image.js";
import { ExtentSink } from "../inference/extent-sink.js";
import type { ExtentTable } from "../inference/extent-table.js";
import { IndexSink } from "../inference/index-sink.js";
import type { InodeIndex } from "../inference/inode-index.js";
import { BlockCache } from "../versions/block-cache.js";
import { findVolumes, type Volume } from "../volumes/volumes.js";
import { openOneImage } from "./one-shot.js";

/** Bytes of the cache of a crawl, and those that the map of names and that of blocks may each take. */
const CACHE_BYTES = 8 << 20;
const MOST_BYTES = 2 ** 32;

/** What a range can be. Other than of metadata, the letters are those of virt-bmap's map, which has no links. */
export type PlaceKind =
  /** The whole disk. */
  | "v"
  /** A partition. */
  | "p"
  /** The partition table. */
  | "t"
  /** Metadata of a file system. */
  | "m"
  /** Contents of a directory, of a regular file, of a symbolic link. */
  | "d"
  | "f"
  | "s"
  /** Nothing, as far as anybody knows: not told in a map, but of accesses. */
  | "u";

/** What lies somewhere, by a name that people know. */
export interface Place {
  readonly kind: PlaceKind;
  /** `/dev/sda1` */
  readonly device: string;
  /** Of metadata: `superblock`, `inode table`, ...; of a partition table: `gpt` or `mbr`. */
  readonly what: string | undefined;
  /** The file that it belongs to, by its first name; undefined: none, or one without a name. */
  readonly path: Buffer | undefined;
  /** 0: none. */
  readonly inode: number;
}

/** Bytes of a disk, and what they hold. */
export interface MappedRange extends Place {
  /** The first byte on the disk, and the one after the last. */
  readonly start: number;
  readonly end: number;
  /** Bytes from the beginning of the file that they belong to; undefined where they are none of its contents. */
  readonly offset: number | undefined;
  /** Only where it was allocated and never written, so that it reads as zeros whatever the disk has. */
  readonly unwritten?: true;
}

/** A volume's blocks and names. */
export interface VolumeContents {
  readonly blockSize: number;
  /** How many blocks the file system has. */
  readonly blocks: number;
  /** In no order that means anything. */
  readonly extents: ExtentTable;
  readonly index: InodeIndex;
}

/** Crawls a volume for both; undefined if it has no file system that is known. Throws IoError, and an error where it is too large. */
export function volumeContents(source: Source, log: Log): VolumeContents | undefined {
  const found = new ExtentSink(MOST_BYTES);
  if (crawlBlocks(source, new BlockCache(CACHE_BYTES), log, found) === undefined) return undefined;
  const sink = new IndexSink(MOST_BYTES);
  crawlFileSystem(source, new BlockCache(CACHE_BYTES), () => {}, sink);
  return { blockSize: found.blockSize, blocks: found.blocks, extents: found.table, index: sink.index };
}

/** What a block of a file system holds, as people know it. `path`: that of the inode, if it has one. */
export function placeOf(device: string, kind: BlockKind, inode: number, path: Buffer | undefined): Place {
  const letter = CONTENTS.get(kind);
  if (letter !== undefined) return { kind: letter, device, what: undefined, path, inode };
  const what = BLOCK_KIND_NAMES[kind];
  // What is the file system's own is so whichever of its own inodes has it.
  if (kind < BlockKind.DIRECTORY) return { kind: "m", device, what, path: undefined, inode: 0 };
  return { kind: "m", device, what, path, inode };
}

const CONTENTS: ReadonlyMap<BlockKind, PlaceKind> = new Map([
  [BlockKind.DIRECTORY, "d"],
  [BlockKind.TARGET, "s"],
  [BlockKind.DATA, "f"],
  [BlockKind.UNWRITTEN, "f"],
]);

/** Whether a block of this kind holds contents of a file. */
export function isContents(kind: BlockKind): boolean {
  return CONTENTS.has(kind);
}

/**
 * Maps a disk. What is free, and what nobody knows, is not among the ranges; partitions lie around what is in them. Throws
 * ImageError.
 */
export function* diskMap(path: string, log: Log): Generator<MappedRange> {
  const image = openOneImage(path, log);
  try {
    const { kind, volumes, ranges } = findVolumes(image, diskName(0), log);
    const nothing = { what: undefined, path: undefined, inode: 0, offset: undefined };
    const { size } = image;
    const device = deviceOf(diskName(0));
    const frame = [
      { ...nothing, kind: "v" as const, device, start: 0, end: size },
      ...ranges.map(({ offset, length }) => {
        const end = Math.min(offset + length, size);
        return { ...nothing, kind: "t" as const, device, what: kind, start: Math.min(offset, end), end };
      }),
      ...volumes.flatMap(({ number, name, offset, length }) => {
        const end = Math.min(offset + length, size);
        const start = Math.min(offset, end);
        return number === 0 ? [] : [{ ...nothing, kind: "p" as const, device: deviceOf(name), start, end }];
      }),
    ].filter(({ start, end }) => end > start);
    frame.sort((a, b) => a.start - b.start || b.end - a.end);
    yield* merged([frame, ...volumes.map((volume) => volumeMap(volume, log))]);
  } finally {
    image.close();
  }
}

export function deviceOf(name: string): string {
  return `/dev/${name}`;
}

function* volumeMap({ name, offset, source }: Volume, log: Log): Generator<MappedRange> {
  let contents: VolumeContents | undefined;
  try {
    contents = volumeContents(source, (line) => log(`${name}: ${line}`));
  } catch (error) {
    log(`${name}: what lies in it is not told: ${(error as Error).message}`);
  }
  if (contents === undefined) return;
  const { blockSize, index } = contents;
  const extents = contents.extents.sorted();
  const device = deviceOf(name);
  let range: Mutable<MappedRange> | undefined;
  let last: BlockKind = BlockKind.NONE;
  for (let n = 0; n < extents.length; n++) {
    const kind = extents.kind(n);
    const inode = kind < BlockKind.DIRECTORY ? 0 : extents.inode(n);
    const start = offset + extents.physical(n) * blockSize;
    const end = offset + extents.end(n) * blockSize;
    const position = isContents(kind) ? extents.logical(n) * blockSize : undefined;
    const isSame = range !== undefined && range.inode === inode && kind === last;
    if (range !== undefined && isSame && range.end === start && position === undefined) {
      range.end = end;
      continue;
    }
    if (range !== undefined) yield range;
    // Most extents of a file follow each other.
    const place: Place =
      range !== undefined && isSame
        ? range
        : placeOf(device, kind, inode, inode === 0 ? undefined : index.path(inode));
    const unwritten = kind === BlockKind.UNWRITTEN ? { unwritten: true as const } : {};
    range = { ...named(place), start, end, offset: position, ...unwritten };
    last = kind;
  }
  if (range !== undefined) yield range;
}

function named({ kind, device, what, path, inode }: Place): Place {
  return { kind, device, what, path, inode };
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Makes one sequence in order of several; of those that begin at the same byte, the first sequence's comes first. */
function* merged(sequences: readonly Iterable<MappedRange>[]): Generator<MappedRange> {
  const heads = sequences.map((sequence) => {
    const iterator = sequence[Symbol.iterator]();
    return { iterator, next: iterator.next() };
  });
  for (;;) {
    let first: (typeof heads)[number] | undefined;
    for (const head of heads) {
      if (head.next.done) continue;
      if (first === undefined || head.next.value.start < first.next.value.start) first = head;
    }
    if (first === undefined) return;
    yield first.next.value;
    first.next = first.iterator.next();
  }
}
