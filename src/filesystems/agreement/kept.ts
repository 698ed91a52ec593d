/** Copies of metadata blocks: the version that has been agreed on, whatever is in their places by now. */
export class Kept {
  readonly #blocks = new Map<number, Buffer>();
  #sorted: Float64Array | undefined;

  get size(): number {
    return this.#blocks.size;
  }

  get(block: number): Buffer | undefined {
    return this.#blocks.get(block);
  }

  has(block: number): boolean {
    return this.#blocks.has(block);
  }

  set(block: number, bytes: Buffer): void {
    if (!this.#blocks.has(block)) this.#sorted = undefined;
    this.#blocks.set(block, bytes);
  }

  delete(block: number): void {
    if (this.#blocks.delete(block)) this.#sorted = undefined;
  }

  /** The blocks' numbers, ascending. */
  get sorted(): Float64Array {
    this.#sorted ??= Float64Array.from(this.#blocks.keys()).sort();
    return this.#sorted;
  }

  entries(): IterableIterator<[number, Buffer]> {
    return this.#blocks.entries();
  }
}
