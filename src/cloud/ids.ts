/**
 * Node ids and inode numbers. A node id's upper half is the place's id (19 bits) and a digest of the inode's generation
 * (12 bits), its lower half the guest's own inode number; st_ino is the place's id and the inode number. So both are the
 * same after a restart, and an inode that the guest uses again for another file has another node id.
 *
 * There are several digests: where the kernel still has a node of an earlier file of the same inode whose first digest is
 * the same, the next one is taken (see ToldInodes). With the same id and another generation, the kernel would give up the
 * earlier file: reading and closing it would fail with EIO (fuse_make_bad).
 */

/** Bits of the generation's digest. */
export const GENERATION_BITS = 12;
/** Place ids are below this; 0 is that of the directories that are no guest's. */
export const PLACE_IDS = 2 ** 19;
/** From here on the upper halves of node ids, and of inode numbers, are those of files of events. */
const EVENTS_FROM = 2 ** 31;
/** The events id of the directories that are no guest's. */
export const OWN_EVENTS_ID = PLACE_IDS - 1;

/** How many digests a generation has. */
export const DIGESTS = 4;

/** The upper half of a node id. `digest`: the generation's first one but in the cases that ToldInodes knows. */
export function nodeHigh(placeId: number, digest: number): number {
  return ((placeId << GENERATION_BITS) | digest) >>> 0;
}

/** The place of a node. */
export function placeOf(high: number): number {
  return high >>> GENERATION_BITS;
}

/** The digest in a node's upper half. */
export function digestOf(high: number): number {
  return high & (2 ** GENERATION_BITS - 1);
}

/** Whether the upper half of a node id, or of an inode number, is that of a file of events. */
export function isEvents(high: number): boolean {
  return high >= EVENTS_FROM;
}

/** The upper half of the node id, and of the inode number, of a file of events: another one for each segment. */
export function eventsHigh(eventsId: number, segment: number): number {
  return EVENTS_FROM + eventsId * 2 ** GENERATION_BITS + (segment % 2 ** GENERATION_BITS);
}

/** The events id of a node. */
export function eventsIdOf(high: number): number {
  return (high - EVENTS_FROM) >>> GENERATION_BITS;
}

/** Whether a node of a file of events is that of a segment. */
export function isSegment(high: number, segment: number): boolean {
  return high % 2 ** GENERATION_BITS === segment % 2 ** GENERATION_BITS;
}

/** A digest of a generation, from 0 to DIGESTS - 1: whose first ones are the same have others that hardly ever are. */
export function digest(generation: number, which = 0): number {
  const mixed = which === 0 ? generation : Math.imul(generation ^ (generation >>> 15) ^ which, MIX);
  return (mixed ^ (mixed >>> 12) ^ (mixed >>> 24)) & (2 ** GENERATION_BITS - 1);
}

/** Spreads bits: 2^32 by the golden ratio. */
const MIX = 0x9e3779b1;

/** Gives out ids below `limit` that depend on a key alone, as long as no two keys have the same hash. */
export class StableIds {
  readonly #limit: number;
  readonly #claim: (id: number) => boolean;
  readonly #taken = new Set<number>();

  /** 0 and 1 are never given out, nor the last one, nor one for which `claim` is false. */
  constructor(limit: number, claim: (id: number) => boolean = () => true) {
    this.#limit = limit;
    this.#claim = claim;
  }

  /** The id for a key; the next free one if its own is taken. */
  take(key: string): number {
    let id = 2 + (hash(key) % (this.#limit - 3));
    while (this.#taken.has(id) || !this.#claim(id)) id = id + 2 === this.#limit ? 2 : id + 1;
    this.#taken.add(id);
    return id;
  }
}

/** 32 bits that depend on a key alone: FNV-1a over UTF-8, with a last mix so that all bits depend on all characters. */
export function hash(key: string): number {
  let h = 0x811c9dc5;
  for (const byte of Buffer.from(key)) h = Math.imul(h ^ byte, 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
