/**
 * Which of several trees has which ids of places, in memory that the threads which serve them share. So no two of them
 * have the same, and whoever gets a request knows by its node whose it is.
 */
import { GENERATION_BITS, OWN_EVENTS_ID, PLACE_IDS } from "./ids.js";

export class IdOwners {
  /** For another thread. */
  readonly shared: SharedArrayBuffer;
  /** By id; those of files of events follow those of inodes, as they do in the upper halves of nodes. */
  readonly #owners: Uint16Array;

  constructor(shared = new SharedArrayBuffer(2 * PLACE_IDS * Uint16Array.BYTES_PER_ELEMENT)) {
    this.shared = shared;
    this.#owners = new Uint16Array(shared);
  }

  /** The owner of a node by its upper half; 0: it is nobody's, or not of a place. */
  of(high: number): number {
    return this.#owners[high >>> GENERATION_BITS] as number;
  }

  /** Has the id in a node's upper half belong to an owner, if it is nobody's. */
  claim(high: number, owner: number): void {
    this.#claim(high >>> GENERATION_BITS, owner);
  }

  /** Has a place's id belong to an owner (from 1 on); false if it is another's. */
  claimPlace(id: number, owner: number): boolean {
    return this.#claim(id, owner);
  }

  /** The same for the id of its files of events. */
  claimEvents(id: number, owner: number): boolean {
    return this.#claim(PLACE_IDS + id, owner);
  }

  #claim(at: number, owner: number): boolean {
    const before = Atomics.compareExchange(this.#owners, at, 0, owner);
    return before === 0 || before === owner;
  }
}

/** Whether a node's upper half is one of the directories that are on no volume, or of their files of events. */
export function isOfNoPlace(high: number): boolean {
  const id = high >>> GENERATION_BITS;
  return id === 0 || id === PLACE_IDS + OWN_EVENTS_ID;
}
