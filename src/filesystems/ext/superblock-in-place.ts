/**
 * The superblock as it stands in its place. A mount, an unmount and a freeze write it there past the journal, and so do
 * fsck, tune2fs and others on a file system at rest: which of them it was is told by the fields that differ.
 */
import type { Source, Spot } from "../../images/image.js";
import { readFully } from "../../versions/block-cache.js";
import { Incompat, RoCompat } from "./features.js";
import { SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";

/**
 * What happened to the file system since the last look. `mounted`: once, and it may have been unmounted before.
 * `rested`: it was unmounted or frozen. In both cases somebody may have written to it for as long as it was at rest.
 * `changed`: somebody has.
 */
export type Rest = "same" | "mounted" | "rested" | "changed";

/** Offsets in struct ext4_super_block that have no name in `Superblock`. */
const MNT_COUNT_AT = 0x34;
const FEATURE_INCOMPAT_AT = 0x60;
const FEATURE_RO_COMPAT_AT = 0x64;

/**
 * Bytes that the kernel writes in place (ext4_update_super, ext4_setup_super, ext4_put_super), first and one past the
 * last: free blocks and inodes; s_mtime, s_wtime, s_mnt_count; s_state; s_free_blocks_count_hi; s_kbytes_written; the
 * first and last error; the upper bytes of times; s_checksum.
 */
const WRITTEN_IN_PLACE: readonly (readonly [number, number])[] = [
  [0xc, 0x14],
  [0x2c, 0x36],
  [0x3a, 0x3c],
  [0x158, 0x15c],
  [0x178, 0x180],
  [0x194, 0x200],
  [0x274, 0x276],
  [0x278, 0x27c],
  [0x3fc, 0x400],
];

export class SuperblockInPlace {
  /** How many mounts the last look that found something else than before has counted. */
  mounts = 0;
  readonly #source: Source;
  /** As last seen, or logged since. */
  #known = Buffer.alloc(Superblock.size);
  #now = Buffer.alloc(Superblock.size);
  readonly #masked = [Buffer.alloc(Superblock.size), Buffer.alloc(Superblock.size)] as const;

  /** Throws IoError. */
  constructor(source: Source) {
    this.#source = source;
    this.#read(this.#known);
  }

  /** Whether it says that the file system is mounted, and not frozen. */
  get isInUse(): boolean {
    return isInUse(this.#known);
  }

  /** Takes note of a transaction: the file system is in use. */
  noteUse(): void {
    const incompat = this.#known.readUInt32LE(FEATURE_INCOMPAT_AT) | Incompat.RECOVER;
    this.#known.writeUInt32LE(incompat >>> 0, FEATURE_INCOMPAT_AT);
  }

  /** Takes over what a commit has logged, at `at` of `bytes`. */
  noteLogged(bytes: Uint8Array, at: number): void {
    this.#known.set(bytes.subarray(at, at + Superblock.size));
  }

  /** Where it lies. */
  get spot(): Spot {
    return { source: this.#source, position: SUPERBLOCK_OFFSET, length: Superblock.size };
  }

  /** Looks what has happened. Throws IoError. */
  look(): Rest {
    this.#read(this.#now);
    const before = this.#known;
    const now = this.#now;
    if (now.equals(before)) return "same";
    this.#known = now;
    this.#now = before;
    const wasInUse = isInUse(before);
    const isNow = isInUse(now);
    this.mounts = (now.readUInt16LE(MNT_COUNT_AT) - before.readUInt16LE(MNT_COUNT_AT)) & 0xffff;
    if (!this.isLike(before, 0) || this.mounts > 1) return "changed";
    if (this.mounts === 1) return "mounted";
    // Of what is at rest only a mount or the end of a freeze changes anything.
    if (!wasInUse && !isNow) return "changed";
    return isNow ? "same" : "rested";
  }

  /** Whether what was seen last is, but for what the kernel writes in place, the superblock at `at` of `bytes`. */
  isLike(bytes: Uint8Array, at: number): boolean {
    const [one, other] = this.#masked;
    one.set(bytes.subarray(at, at + one.length));
    other.set(this.#known);
    mask(one);
    mask(other);
    return one.equals(other);
  }

  #read(into: Buffer): void {
    readFully(this.#source, into, into.length, SUPERBLOCK_OFFSET);
  }
}

function isInUse(superblock: Buffer): boolean {
  return (superblock.readUInt32LE(FEATURE_INCOMPAT_AT) & Incompat.RECOVER) !== 0;
}

/** Clears what the kernel writes in place. */
function mask(superblock: Buffer): void {
  for (const [start, end] of WRITTEN_IN_PLACE) superblock.fill(0, start, end);
  superblock.writeUInt32LE(
    (superblock.readUInt32LE(FEATURE_INCOMPAT_AT) & ~Incompat.RECOVER) >>> 0,
    FEATURE_INCOMPAT_AT,
  );
  superblock.writeUInt32LE(
    (superblock.readUInt32LE(FEATURE_RO_COMPAT_AT) & ~RoCompat.ORPHAN_PRESENT) >>> 0,
    FEATURE_RO_COMPAT_AT,
  );
}
