/** A file that a candidate version changes, or whose names it changes: what must agree, and what is taken together. */
import type { Entry } from "./entries.js";
import type { Side } from "./side.js";

export class Entity {
  readonly ino: number;
  /** Before and after; undefined until it has been looked at. */
  old: Side | undefined;
  now: Side | undefined;
  /** Records that differ, and are its own before or after. */
  readonly records = new Set<number>();
  /** Names that it, as a file or as a directory, has got or lost: by its record, or by its index. */
  readonly keys: Entry[] = [];
  /** What is plain to see; "": nothing. */
  wrong = "";
  #above: Entity | undefined;

  constructor(ino: number) {
    this.ino = ino;
  }

  /** Stands for all that must be taken together. */
  get group(): Entity {
    let top: Entity = this;
    while (top.#above !== undefined) {
      // Each step shortens the way of the next one.
      if (top.#above.#above !== undefined) top.#above = top.#above.#above;
      top = top.#above;
    }
    return top;
  }

  /** The two can only be taken together. */
  join(other: Entity): void {
    const [mine, its] = [this.group, other.group];
    if (mine !== its) its.#above = mine;
  }
}
