/**
 * What the kernel has been told, on record outside of the server: the node of each inode, and the directory in which it
 * was shown. Whoever serves the same mount after this server has died reads it, to have the kernel drop what may have
 * changed in between, and to know how deep a directory lies that somebody still works in.
 *
 * A file of slots, one for each inode of each place (the last generation counts, as the kernel was told to drop those
 * before), so that it grows no larger than the guests are. Written before the answer is sent that tells of it. Before the
 * slots lies the record of requests (fuse/kernel/request-record.ts); where none is kept, that is a hole.
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
import { RECORD_BYTES } from "../fuse/kernel/request-record.js";

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
  const size = Math.max(0, fstatSync(fd).size - RECORD_BYTES);
  const words = new Uint32Array(Math.floor(size / SLOT_BYTES) * SLOT_WORDS);
  const bytes = new Uint8Array(words.buffer);
  for (let at = 0; at < bytes.length; ) {
    const count = readSync(fd, bytes, at, bytes.length - at, RECORD_BYTES + at);
    if (count === 0) break;
    at += count;
  }
  return words;
}

export type SlotVisitor = (high: number, low: number, directory: number, generation: number) => void;

/** Calls `visit` with each slot: a node's two halves, the directory it was shown in (0: not noted), its generation. */
export function visitSlots(slots: Uint32Array, visit: SlotVisitor): void {
  for (let at = 0; at < slots.length; at += SLOT_WORDS) {
    visit(slots[at] as number, slots[at + 1] as number, slots[at + 2] as number, slots[at + 3] as number);
  }
}

/** Slots of a page, and places in the table at first. */
const PAGE_SLOTS = 16_384;
const FIRST_TABLE = 131_072;

/** A ledger that is being kept, by the thread that serves. */
export class Ledger implements NodeLedger, ParentLedger {
  readonly #fd: number;
  readonly #lost: (error: Error) => void;
  /** The slots, as they lie in the file. More are added by the page: to copy all would take twice the memory. */
  readonly #pages: Uint32Array[] = [];
  #count = 0;
  /** The slot that was found last: the page that it is in, and where it begins there. */
  #page: Uint32Array = new Uint32Array(0);
  #at = 0;
  /** Slots that are in the file. */
  #written: number;
  /** Of those, the ones that have changed since. */
  readonly #changed: number[] = [];
  /** Open addressing: the number of a slot, plus one. Its length is a power of two. */
  #table = new Uint32Array(FIRST_TABLE);
  #isLost = false;

  /** Goes on with what is in the file. `lost` is called, once, if nothing can be written there any more. */
  constructor(fd: number, lost: (error: Error) => void) {
    this.#fd = fd;
    this.#lost = lost;
    const found = readLedger(fd);
    for (let at = 0; at < found.length; at += SLOT_WORDS) {
      this.#addSlot();
      this.#page.set(found.subarray(at, at + SLOT_WORDS), this.#at);
    }
    this.#written = this.#count;
    let length = FIRST_TABLE;
    while (this.#count * 4 > length * 3) length *= 2;
    this.#makeTable(length);
  }

  /** Calls `visit` with each slot; see visitSlots. */
  visit(visit: SlotVisitor): void {
    for (const [number, page] of this.#pages.entries()) {
      const slots = Math.min(PAGE_SLOTS, this.#count - number * PAGE_SLOTS);
      visitSlots(page.subarray(0, slots * SLOT_WORDS), visit);
    }
  }

  node(high: number, low: number, generation: number): void {
    const slot = this.#slot(placeOf(high), low, high);
    this.#set(slot, 0, high);
    this.#set(slot, 3, generation);
  }

  parent(placeId: number, ino: number, directory: number): void {
    // The node itself follows, in the same answer.
    const slot = this.#slot(placeId, ino, placeId * HIGHS_OF_A_PLACE);
    this.#set(slot, 2, directory);
  }

  flush(): void {
    if (this.#written === this.#count && this.#changed.length === 0) return;
    if (!this.#isLost) this.#write();
    this.#written = this.#count;
    this.#changed.length = 0;
  }

  #write(): void {
    try {
      for (const slot of this.#changed) this.#writeSlots(slot, slot + 1);
      for (let slot = this.#written; slot < this.#count; ) {
        const pageEnd = (Math.floor(slot / PAGE_SLOTS) + 1) * PAGE_SLOTS;
        const end = Math.min(pageEnd, this.#count);
        this.#writeSlots(slot, end);
        slot = end;
      }
    } catch (error) {
      this.#isLost = true;
      this.#lost(error as Error);
    }
  }

  /** Writes slots of one page, from `first` to the one before `end`. */
  #writeSlots(first: number, end: number): void {
    this.#locate(first);
    const bytes = new Uint8Array(this.#page.buffer);
    const start = this.#at * 4;
    const length = (end - first) * SLOT_BYTES;
    const position = RECORD_BYTES + first * SLOT_BYTES;
    for (let done = 0; done < length; )
      done += writeSync(this.#fd, bytes, start + done, length - done, position + done);
  }

  /** Sets a word of the slot that was found last. */
  #set(slot: number, word: number, value: number): void {
    if (this.#page[this.#at + word] === value) return;
    this.#page[this.#at + word] = value;
    if (slot < this.#written) this.#changed.push(slot);
  }

  #locate(slot: number): void {
    this.#page = this.#pages[Math.floor(slot / PAGE_SLOTS)] as Uint32Array;
    this.#at = (slot % PAGE_SLOTS) * SLOT_WORDS;
  }

  /** Finds an inode's slot; a new one has the node `high`. */
  #slot(placeId: number, ino: number, high: number): number {
    const mask = this.#table.length - 1;
    let at = hash(placeId, ino) & mask;
    for (;;) {
      const slot = (this.#table[at] as number) - 1;
      if (slot < 0) break;
      this.#locate(slot);
      if (this.#page[this.#at + 1] === ino && placeOf(this.#page[this.#at] as number) === placeId)
        return slot;
      at = (at + 1) & mask;
    }
    if (this.#count * 4 === this.#table.length * 3) {
      this.#makeTable(this.#table.length * 2);
      return this.#slot(placeId, ino, high);
    }
    this.#addSlot();
    this.#table[at] = this.#count;
    this.#page[this.#at] = high;
    this.#page[this.#at + 1] = ino;
    return this.#count - 1;
  }

  /** Adds an empty slot. */
  #addSlot(): void {
    if (this.#count === this.#pages.length * PAGE_SLOTS)
      this.#pages.push(new Uint32Array(PAGE_SLOTS * SLOT_WORDS));
    this.#locate(this.#count++);
  }

  #makeTable(length: number): void {
    const table = new Uint32Array(length);
    const mask = length - 1;
    for (let slot = 0; slot < this.#count; slot++) {
      this.#locate(slot);
      let at = hash(placeOf(this.#page[this.#at] as number), this.#page[this.#at + 1] as number) & mask;
      while (table[at] !== 0) at = (at + 1) & mask;
      table[at] = slot + 1;
    }
    this.#table = table;
  }
}

/** Upper halves of node ids that one place has: one for each digest of a generation. */
const HIGHS_OF_A_PLACE = 4096;

function hash(placeId: number, ino: number): number {
  const h = Math.imul(ino, 0x9e3779b1) ^ Math.imul(placeId, 0x85ebca6b);
  return (h ^ (h >>> 15)) >>> 0;
}
