/**
 * What the kernel has been told, on record outside of the server: the node of each inode, and the directory in which it
 * was shown. Whoever serves the same mount after this server has died reads it, to have the kernel drop what may have
 * changed in between, and to know how deep a directory lies that somebody still works in.
 *
 * A file of slots, one for each inode of each place (the last generation counts, as the kernel was told to drop those
 * before), so that it grows no larger than the guests are. Written before the answer is sent that tells of it.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { placeOf } from "../cloud/ids.js";
import type { ParentLedger } from "../cloud/place.js";
import type { NodeLedger } from "../fuse/kernel/node-ledger.js";

/** A slot's words: the node's two halves, the directory's inode number (0: not noted), and the generation. */
const SLOT_WORDS = 4;
const SLOT_BYTES = SLOT_WORDS * 4;
/** A file in memory, where there are such. */
const MEMORY = "/dev/shm";

/** Makes an empty ledger; returns its descriptor. Nothing of it is left when nobody has it open. Throws a Node system error. */
export function createLedger(): number {
  const folder = existsSync(MEMORY) ? MEMORY : tmpdir();
  const path = join(folder, `slashcloud-${process.pid}-${Date.now()}`);
  const fd = openSync(path, "wx+", 0o600);
  unlinkSync(path);
  return fd;
}

/** Empties a ledger: for a new mount, of which the kernel knows nothing. */
export function clearLedger(fd: number): void {
  ftruncateSync(fd, 0);
}

/** Closes a ledger. */
export function closeLedger(fd: number): void {
  closeSync(fd);
}

/** The slots of a ledger, in groups of SLOT_WORDS words. Throws a Node system error. */
export function readLedger(fd: number): Uint32Array {
  const words = new Uint32Array(Math.floor(fstatSync(fd).size / SLOT_BYTES) * SLOT_WORDS);
  const bytes = new Uint8Array(words.buffer);
  for (let at = 0; at < bytes.length; ) {
    const count = readSync(fd, bytes, at, bytes.length - at, at);
    if (count === 0) break;
    at += count;
  }
  return words;
}

/** Calls `visit` with each slot: a node's two halves, the directory it was shown in (0: not noted), its generation. */
export function visitSlots(
  slots: Uint32Array,
  visit: (high: number, low: number, directory: number, generation: number) => void,
): void {
  for (let at = 0; at < slots.length; at += SLOT_WORDS) {
    visit(slots[at] as number, slots[at + 1] as number, slots[at + 2] as number, slots[at + 3] as number);
  }
}

/** Slots that there is room for at first. */
const FIRST_ROOM = 65536;

/** A ledger that is being kept, by the thread that serves. */
export class Ledger implements NodeLedger, ParentLedger {
  readonly #fd: number;
  readonly #lost: (error: Error) => void;
  #slots: Uint32Array;
  /** The same as bytes: they lie in the file as here. */
  #bytes: Uint8Array;
  #count: number;
  /** Slots that are in the file. */
  #written: number;
  /** Of those, the ones that have changed since. */
  readonly #changed: number[] = [];
  /** Open addressing: the number of a slot, plus one. Its length is a power of two. */
  #table: Uint32Array;
  #isLost = false;

  /** Goes on with what is in the file. `lost` is called, once, if nothing can be written there any more. */
  constructor(fd: number, lost: (error: Error) => void) {
    this.#fd = fd;
    this.#lost = lost;
    const found = readLedger(fd);
    this.#count = this.#written = found.length / SLOT_WORDS;
    let room = FIRST_ROOM;
    while (room < this.#count) room *= 2;
    this.#slots = new Uint32Array(room * SLOT_WORDS);
    this.#slots.set(found);
    this.#bytes = new Uint8Array(this.#slots.buffer);
    this.#table = new Uint32Array(room * 2);
    this.#fillTable();
  }

  /** What is on record. A view: valid until something is added. */
  get slots(): Uint32Array {
    return this.#slots.subarray(0, this.#count * SLOT_WORDS);
  }

  node(high: number, low: number, generation: number): void {
    const at = this.#slot(placeOf(high), low, high);
    if (this.#slots[at] !== high) this.#set(at, high);
    if (this.#slots[at + 3] !== generation) this.#set(at + 3, generation);
  }

  parent(placeId: number, ino: number, directory: number): void {
    // The node itself follows, in the same answer.
    const at = this.#slot(placeId, ino, placeId * HIGHS_OF_A_PLACE) + 2;
    if (this.#slots[at] !== directory) this.#set(at, directory);
  }

  flush(): void {
    if (this.#written === this.#count && this.#changed.length === 0) return;
    if (!this.#isLost) this.#write();
    this.#written = this.#count;
    this.#changed.length = 0;
  }

  #write(): void {
    try {
      for (const slot of this.#changed) this.#writeSlots(slot, 1);
      this.#writeSlots(this.#written, this.#count - this.#written);
    } catch (error) {
      this.#isLost = true;
      this.#lost(error as Error);
    }
  }

  #writeSlots(first: number, count: number): void {
    const end = (first + count) * SLOT_BYTES;
    for (let at = first * SLOT_BYTES; at < end; ) at += writeSync(this.#fd, this.#bytes, at, end - at, at);
  }

  #set(at: number, value: number): void {
    this.#slots[at] = value;
    const slot = Math.floor(at / SLOT_WORDS);
    if (slot < this.#written) this.#changed.push(slot);
  }

  /** The place in `#slots` of an inode's slot; a new one has the node `high`. */
  #slot(placeId: number, ino: number, high: number): number {
    const mask = this.#table.length - 1;
    let at = hash(placeId, ino) & mask;
    for (;;) {
      const slot = this.#table[at] as number;
      if (slot === 0) break;
      const found = (slot - 1) * SLOT_WORDS;
      if (this.#slots[found + 1] === ino && placeOf(this.#slots[found] as number) === placeId) return found;
      at = (at + 1) & mask;
    }
    if (this.#count * 4 === this.#table.length * 3) {
      this.#table = new Uint32Array(this.#table.length * 2);
      this.#fillTable();
      return this.#slot(placeId, ino, high);
    }
    if (this.#count * SLOT_WORDS === this.#slots.length) this.#growSlots();
    const made = this.#count++ * SLOT_WORDS;
    this.#table[at] = this.#count;
    this.#slots[made] = high;
    this.#slots[made + 1] = ino;
    this.#slots[made + 2] = 0;
    this.#slots[made + 3] = 0;
    return made;
  }

  #growSlots(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    slots.set(this.#slots);
    this.#slots = slots;
    this.#bytes = new Uint8Array(slots.buffer);
  }

  #fillTable(): void {
    const mask = this.#table.length - 1;
    for (let slot = 0; slot < this.#count; slot++) {
      const found = slot * SLOT_WORDS;
      let at = hash(placeOf(this.#slots[found] as number), this.#slots[found + 1] as number) & mask;
      while (this.#table[at] !== 0) at = (at + 1) & mask;
      this.#table[at] = slot + 1;
    }
  }
}

/** Upper halves of node ids that one place has: one for each digest of a generation. */
const HIGHS_OF_A_PLACE = 4096;

function hash(placeId: number, ino: number): number {
  const h = Math.imul(ino, 0x9e3779b1) ^ Math.imul(placeId, 0x85ebca6b);
  return (h ^ (h >>> 15)) >>> 0;
}
