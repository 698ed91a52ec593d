/** What the blocks of a volume hold while its guest writes. */
import { BlockKind } from "../filesystems/block-kind.js";
import type { Follower, Look } from "../filesystems/follower.js";
import { followFileSystem } from "../filesystems/formats.js";
import type { Log } from "../images/image.js";
import { IoError } from "../images/io-error.js";
import { BlockOwners } from "../inference/block-owners.js";
import type { InodeIndex } from "../inference/inode-index.js";
import { follow } from "../inference/volume-events.js";
import { BlockCache } from "../versions/block-cache.js";
import type { Volume } from "../volumes/volumes.js";
import { deviceOf, isContents, type Place, placeOf, volumeContents } from "./disk-map.js";

/** Bytes of the follower's cache. */
const CACHE_BYTES = 8 << 20;
/** Looks that follow each other at once, as each takes some transactions only. */
const MOST_LOOKS = 100;
/** ms until a volume that could not be read is read again. */
const RETRY = 1000;

/**
 * Takes a part of a range: what it holds, its first byte, counted from the beginning of the file for contents and of the
 * volume for all else, and its bytes; `place` is undefined where nobody knows.
 */
export type PartVisitor = (place: Place | undefined, position: number, at: number, length: number) => void;

export class TracedVolume {
  readonly volume: Volume;
  readonly device: string;
  readonly #log: Log;
  #follower: Follower | undefined;
  #owners: BlockOwners | undefined;
  #index: InodeIndex | undefined;
  #blockSize = 0;
  #readAgainAt = 0;
  /** What was asked for last. */
  #place: Place | undefined;

  /** Crawls it. */
  constructor(volume: Volume, log: Log) {
    this.volume = volume;
    this.device = deviceOf(volume.name);
    this.#log = (line) => log(`${volume.name}: ${line}`);
    this.#read();
    if (this.#owners !== undefined && this.#follower === undefined)
      this.#log("its changes cannot be followed: files are told as they are now");
  }

  /** Whether it has a file system that is known. */
  get isKnown(): boolean {
    return this.#owners !== undefined;
  }

  /** Takes in what the guest has committed since. Returns whether that may explain more. */
  update(): boolean {
    let isChanged = false;
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const found = this.#look();
      if (found === undefined) break;
      isChanged = true;
      if ("reopen" in found || found.afresh === true) {
        if (performance.now() >= this.#readAgainAt) this.#read();
        break;
      }
      for (const { changes } of found.steps)
        this.#take([...changes.inodes, ...changes.unsureInodes], changes);
      if (found.steps.length === 0) break;
    }
    return isChanged;
  }

  /** Visits the parts of a range of the volume, in bytes. */
  explain(start: number, length: number, visit: PartVisitor): void {
    const owners = this.#owners;
    const end = start + length;
    if (owners === undefined) {
      visit(
        { kind: "p", device: this.device, what: undefined, path: undefined, inode: 0 },
        start,
        start,
        length,
      );
      return;
    }
    const blockSize = this.#blockSize;
    for (let at = start; at < end; ) {
      const block = Math.floor(at / blockSize);
      const kind = owners.find(block);
      const until = Math.min(end, owners.end * blockSize);
      const position = isContents(kind) ? owners.logical * blockSize + at - block * blockSize : at;
      visit(
        kind === BlockKind.NONE ? undefined : this.#placeOf(kind, owners.inode),
        position,
        at,
        until - at,
      );
      at = until;
    }
  }

  #placeOf(kind: BlockKind, inode: number): Place {
    // Accesses of a file mostly follow each other; its path may be another one than before.
    const path = inode === 0 ? undefined : this.#index?.path(inode);
    const place = placeOf(this.device, kind, inode, path);
    const last = this.#place;
    if (last !== undefined && last.kind === place.kind && last.what === place.what && last.inode === inode) {
      const isSame = last.path === path || (path !== undefined && last.path?.equals(path));
      if (isSame) return last;
    }
    this.#place = place;
    return place;
  }

  #look(): Look {
    try {
      return this.#follower?.look();
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return { reopen: "damaged" };
    }
  }

  #take(inodes: readonly { readonly ino: number }[], changes: Parameters<typeof follow>[0]): void {
    const maps = this.#follower?.maps;
    if (this.#index !== undefined) follow(changes, this.#index);
    if (maps === undefined) return;
    for (const { ino } of inodes) this.#owners?.replace(ino, (sink) => maps.extents(ino, sink));
  }

  /** Reads the volume anew, as it is now. */
  #read(): void {
    this.#readAgainAt = performance.now() + RETRY;
    this.#place = undefined;
    const { source } = this.volume;
    try {
      // It is followed from before the crawl: what comes meanwhile is taken in again.
      this.#follower = followFileSystem(source, new BlockCache(CACHE_BYTES), () => {});
      const contents = volumeContents(source, this.#log);
      this.#index = contents?.index;
      this.#owners = contents && new BlockOwners(contents.blocks, contents.extents);
      this.#blockSize = contents?.blockSize ?? 0;
    } catch (error) {
      this.#log(`files are not told: ${(error as Error).message}`);
      this.#owners = undefined;
    }
  }
}
