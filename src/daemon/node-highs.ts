/**
 * The upper halves of the nodes that the kernel can have of a file, for those who do not tell it of them: the file's
 * generation's first digest in all cases but those that they are told of.
 */
import { digest, nodeHigh, placeOf } from "../cloud/ids.js";

/** Of those, the ones that are remembered. */
const MOST = 10_000;

export class NodeHighs {
  readonly #uncommon = new Map<string, Set<number>>();

  /** A file has a node with another digest. */
  add(high: number, ino: number, generation: number): void {
    const key = keyOf(placeOf(high), ino, generation);
    const highs = this.#uncommon.get(key) ?? new Set();
    highs.add(high);
    const [oldest] = this.#uncommon.keys();
    if (this.#uncommon.size >= MOST && oldest !== undefined) this.#uncommon.delete(oldest);
    this.#uncommon.set(key, highs);
  }

  /** All of a file in a place. */
  of(placeId: number, ino: number, generation: number): readonly number[] {
    const first = nodeHigh(placeId, digest(generation));
    if (this.#uncommon.size === 0) return [first];
    return [first, ...(this.#uncommon.get(keyOf(placeId, ino, generation)) ?? [])];
  }
}

function keyOf(placeId: number, ino: number, generation: number): string {
  return `${placeId} ${ino} ${generation}`;
}
