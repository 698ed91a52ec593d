/** Bytes that come one after the other: from a file, through gunzip, from a pipe. */
export class ByteStream {
  readonly #source: AsyncIterator<Buffer>;
  /** What came and was not yet taken. */
  readonly #chunks: Buffer[] = [];
  #waiting = 0;
  #isEnded = false;

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Bytes that are left when fewer came than were asked for. */
  get left(): number {
    return this.#waiting;
  }

  /** The next `length` bytes, which come again. Undefined if there are fewer. */
  async peek(length: number): Promise<Buffer | undefined> {
    if (!(await this.#has(length))) return undefined;
    if (this.#chunks.length > 1 && this.#chunks[0]!.length < length)
      this.#chunks.splice(0, this.#chunks.length, Buffer.concat(this.#chunks));
    return this.#chunks[0]?.subarray(0, length) ?? Buffer.alloc(0);
  }

  /** The next `length` bytes, in memory of their own. Undefined if there are fewer. */
  async take(length: number): Promise<Buffer | undefined> {
    if (!(await this.#has(length))) return undefined;
    const target = Buffer.allocUnsafeSlow(length);
    for (let done = 0; done < length; ) {
      const chunk = this.#chunks[0]!;
      const count = chunk.copy(target, done, 0, Math.min(chunk.length, length - done));
      this.#drop(chunk, count);
      done += count;
    }
    return target;
  }

  /** Passes over bytes. False if there are fewer. */
  async skip(length: number): Promise<boolean> {
    for (let left = length; left > 0; ) {
      if (!(await this.#has(1))) return false;
      const chunk = this.#chunks[0]!;
      const count = Math.min(chunk.length, left);
      this.#drop(chunk, count);
      left -= count;
    }
    return true;
  }

  /** Passes over all that has come, once something has. False if nothing more comes. */
  async drop(): Promise<boolean> {
    const isMore = await this.#has(1);
    this.#chunks.length = 0;
    this.#waiting = 0;
    return isMore;
  }

  #drop(chunk: Buffer, count: number): void {
    this.#waiting -= count;
    if (count === chunk.length) this.#chunks.shift();
    else this.#chunks[0] = chunk.subarray(count);
  }

  async #has(length: number): Promise<boolean> {
    while (this.#waiting < length && !this.#isEnded) {
      const { value, done } = await this.#source.next();
      if (done === true) this.#isEnded = true;
      else if (value.length > 0) {
        this.#chunks.push(value);
        this.#waiting += value.length;
      }
    }
    return this.#waiting >= length;
  }

  /** Ends the source, if it has not ended. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }
}
