/** An inode that a candidate version changes, or whose names it changes: what must agree, and what is taken together. */
export class Entity {
  readonly ino: number;
  /** Blocks of the candidate that are its own, beside the one that holds it. */
  readonly blocks: number[] = [];
  /** Blocks of its map, or of its contents, that it has now and had not, and the other way round. */
  claims: readonly number[] = [];
  releases: ReadonlySet<number> = new Set();
  /** Blocks of attributes that it no longer has (-1), or has now (1). */
  readonly shares: Array<readonly [number, number]> = [];
  /** How many names it has got, and lost. */
  got = 0;
  lost = 0;
  /** The type that its new names say it has (an EntryType); 0: none says. */
  nameType = 0;
  /** Whether it has got a name other than "." and "..". */
  isNamed = false;
  /** How many blocks it lacks by its own count (i_blocks), and lacked before. */
  missing = 0;
  missed = 0;
  /** Whether it or a block of its own differs; else it is here for its names only. */
  isTouched = false;
  /** Whether the inode itself differs. */
  hasChanged = false;
  /** Whether something that is plain to see is wrong: a block that two claim, a name for no inode, a bad structure. */
  isWrong = false;
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
