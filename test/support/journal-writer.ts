/** Writes journals by hand, in every format, into the journal of an image that is held in memory. */
import { crc32be } from "../../src/layout/crc32be.js";
import { crc32c } from "../../src/layout/crc32c.js";
import type { ImageJournal } from "./journal-device.js";
import { MAGIC_BYTES } from "./journal-images.js";

export interface JournalFormat {
  checksums: "none" | "v1" | "v2" | "v3";
  bits64: boolean;
  asyncCommit?: boolean;
  /** Number of the first transaction, and the journal's block where it starts. */
  sequence?: number;
  start?: number;
  /** Copies that one descriptor tells of; default: as many as it has room for. */
  tagsPerDescriptor?: number;
  /** Whether each tag brings its UUID, not the first alone. */
  uuidInEachTag?: boolean;
}

export interface WrittenTransaction {
  /** The file system's blocks and what they are to hold. */
  blocks?: [block: number, content: Buffer][];
  revoked?: number[];
  /** Seconds since 1970; default: ever later. */
  seconds?: number;
  /** Left out where the power failed before it was written. */
  commit?: false;
}

/** Where the parts of a transaction came to lie: journal blocks. */
export interface WrittenPlaces {
  descriptors: number[];
  copies: number[];
  revokes: number[];
  commit: number;
}

const DESCRIPTOR = 1;
const COMMIT = 2;
const SUPERBLOCK = 4;
const REVOKE = 5;

export class JournalWriter {
  readonly #device: ImageJournal;
  readonly #format: JournalFormat;
  readonly #checksummed: boolean;
  readonly #uuid: Buffer;
  readonly #seed: number;
  #head: number;
  #sequence: number;
  #seconds = 1_700_000_000;
  #sum = 0xffffffff;

  /** Writes the journal's superblock, and marks the file system as in need of recovery. */
  constructor(device: ImageJournal, format: JournalFormat) {
    this.#device = device;
    this.#format = format;
    this.#checksummed = format.checksums === "v2" || format.checksums === "v3";
    this.#head = format.start ?? 1;
    this.#sequence = format.sequence ?? 7;
    const block = this.#journalBlock(0);
    this.#uuid = Buffer.from(block.subarray(0x30, 0x40));
    this.#seed = crc32c(0xffffffff, this.#uuid, 0, 16);
    this.writeSuperblock(this.#head, this.#sequence);
    const incompat = 1024 + 0x60;
    device.image.writeUInt32LE(device.image.readUInt32LE(incompat) | 0x4, incompat);
  }

  get sequence(): number {
    return this.#sequence;
  }

  get head(): number {
    return this.#head;
  }

  writeSuperblock(start: number, sequence: number): void {
    const { checksums, bits64, asyncCommit } = this.#format;
    const block = this.#journalBlock(0);
    block.writeUInt32BE(SUPERBLOCK, 4);
    block.writeUInt32BE(sequence, 0x18);
    block.writeUInt32BE(start, 0x1c);
    block.writeUInt32BE(checksums === "v1" ? 1 : 0, 0x24);
    let incompat = 1;
    if (bits64) incompat |= 2;
    if (asyncCommit) incompat |= 4;
    if (checksums === "v2") incompat |= 8;
    if (checksums === "v3") incompat |= 16;
    block.writeUInt32BE(incompat, 0x28);
    block[0x50] = this.#checksummed ? 4 : 0;
    block.writeUInt32BE(0, 0xfc);
    if (this.#checksummed) block.writeUInt32BE(crc32c(0xffffffff, block, 0, 1024), 0xfc);
  }

  /** Appends one transaction to the log. */
  add(transaction: WrittenTransaction): WrittenPlaces {
    const places: WrittenPlaces = { descriptors: [], copies: [], revokes: [], commit: 0 };
    this.#sum = 0xffffffff;
    if (transaction.revoked !== undefined) this.#writeRevokes(transaction.revoked, places);
    const blocks = [...(transaction.blocks ?? [])];
    const most = this.#format.tagsPerDescriptor ?? this.#tagsThatFit();
    while (blocks.length > 0) this.#writeDescriptor(blocks.splice(0, most), places);
    this.#seconds = transaction.seconds ?? this.#seconds + 5;
    places.commit = this.#head;
    if (transaction.commit !== false) this.#writeCommit(this.#seconds);
    this.#sequence = (this.#sequence + 1) >>> 0;
    return places;
  }

  #journalBlock(index: number): Buffer {
    const at = this.#device.at(index);
    return this.#device.image.subarray(at, at + this.#device.blockSize);
  }

  /** The next block of the log, empty but for its header. */
  #next(type: number): Buffer {
    const block = this.#take();
    block.fill(0);
    MAGIC_BYTES.copy(block);
    block.writeUInt32BE(type, 4);
    block.writeUInt32BE(this.#sequence, 8);
    return block;
  }

  #take(): Buffer {
    const block = this.#journalBlock(this.#head);
    this.#head = this.#head + 1 === this.#device.length ? 1 : this.#head + 1;
    return block;
  }

  #tagBytes(): number {
    const { checksums, bits64 } = this.#format;
    if (checksums === "v3") return 16;
    return 8 + (bits64 ? 4 : 0) + (checksums === "v2" ? 2 : 0);
  }

  #tagsThatFit(): number {
    const room = this.#device.blockSize - 12 - (this.#checksummed ? 4 : 0);
    return this.#format.uuidInEachTag
      ? Math.floor(room / (this.#tagBytes() + 16))
      : Math.floor((room - 16) / this.#tagBytes());
  }

  #writeDescriptor(blocks: [number, Buffer][], places: WrittenPlaces): void {
    const { checksums, bits64, uuidInEachTag } = this.#format;
    places.descriptors.push(this.#head);
    const descriptor = this.#next(DESCRIPTOR);
    const copies: Buffer[] = [];
    let at = 12;
    blocks.forEach(([number, content], n) => {
      places.copies.push(this.#head);
      const copy = this.#take();
      content.copy(copy);
      copies.push(copy);
      const escaped = copy.subarray(0, 4).equals(MAGIC_BYTES);
      if (escaped) copy.fill(0, 0, 4);
      const sequence = Buffer.alloc(4);
      sequence.writeUInt32BE(this.#sequence);
      const sum = crc32c(crc32c(this.#seed, sequence, 0, 4), copy, 0, copy.length);
      const isFirst = n === 0 || uuidInEachTag === true;
      const flags = (escaped ? 1 : 0) | (isFirst ? 0 : 2) | (n === blocks.length - 1 ? 8 : 0);
      descriptor.writeUInt32BE(number % 2 ** 32, at);
      descriptor.writeUInt16BE(checksums === "v2" ? sum & 0xffff : 0, at + 4);
      descriptor.writeUInt16BE(flags, at + 6);
      if (bits64) descriptor.writeUInt32BE(Math.floor(number / 2 ** 32), at + 8);
      if (checksums === "v3") descriptor.writeUInt32BE(sum, at + 12);
      at += this.#tagBytes();
      if (isFirst) at += this.#uuid.copy(descriptor, at);
    });
    this.#seal(descriptor);
    for (const block of [descriptor, ...copies]) this.#sum = crc32be(this.#sum, block, 0, block.length);
  }

  #writeRevokes(revoked: number[], places: WrittenPlaces): void {
    const bytes = this.#format.bits64 ? 8 : 4;
    const room = Math.floor((this.#device.blockSize - 16 - 4) / bytes);
    for (let from = 0; from < revoked.length; from += room) {
      places.revokes.push(this.#head);
      const block = this.#next(REVOKE);
      let at = 16;
      for (const number of revoked.slice(from, from + room)) {
        if (bytes === 8) at = block.writeUInt32BE(Math.floor(number / 2 ** 32), at);
        at = block.writeUInt32BE(number % 2 ** 32, at);
      }
      block.writeUInt32BE(at, 12);
      this.#seal(block);
    }
  }

  #writeCommit(seconds: number): void {
    const block = this.#next(COMMIT);
    block.writeBigUInt64BE(BigInt(seconds), 0x30);
    block.writeUInt32BE(123_456_789, 0x38);
    if (this.#format.checksums === "v1") {
      block[0xc] = 1;
      block[0xd] = 4;
      block.writeUInt32BE(this.#sum, 0x10);
    } else if (this.#checksummed) {
      block.writeUInt32BE(crc32c(this.#seed, block, 0, block.length), 0x10);
    }
  }

  #seal(block: Buffer): void {
    if (this.#checksummed) block.writeUInt32BE(crc32c(this.#seed, block, 0, block.length), block.length - 4);
  }
}
