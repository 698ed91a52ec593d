/**
 * Node ids and inode numbers. A node id's upper half is the place's id (19 bits) and a digest of the inode's generation
 * (12 bits), its lower half the guest's own inode number; st_ino is the place's id and the inode number. So both are the
 * same after a restart, and an inode that the guest uses again for another file has another node id.
 */

/** Bits of the generation's digest. */
export const GENERATION_BITS = 12;
/** Place ids are below this; 0 is that of the directories that are no guest's. */
export const PLACE_IDS = 2 ** 19;
/** From here on the upper halves of node ids, and of inode numbers, are those of files of events. */
const EVENTS_FROM = 2 ** 31;
/** The events id of the directories that are no guest's. */
export const OWN_EVENTS_ID = PLACE_IDS - 1;

/** The upper half of a node id. */
export function nodeHigh(placeId: number, generation: number): number {
  return ((placeId << GENERATION_BITS) | digest(generation)) >>> 0;
}

/** The place of a node. */
export function placeOf(high: number): number {
  return high >>> GENERATION_BITS;
}

/** Whether a node's digest is that of the generation. */
export function isGeneration(high: number, generation: number): boolean {
  return (high & (2 ** GENERATION_BITS - 1)) === digest(generation);
}

/** Whether files with these generations, one after the other in an inode, have the same node id. */
export function haveSameNode(generation: number, other: number): boolean {
  return digest(generation) === digest(other);
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

function digest(generation: number): number {
  return (generation ^ (generation >>> 12) ^ (generation >>> 24)) & (2 ** GENERATION_BITS - 1);
}

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
