import { writeSync } from "node:fs";
import { ReplyHeader, Size } from "./protocol.js";

/** Answers requests that somebody else has read with an error. */
export class Refusal {
  readonly #fd: number;
  readonly #words = new Uint32Array(Size.REPLY_HEADER / 4);
  readonly #bytes = new Uint8Array(this.#words.buffer);

  /** `fd`: the mount's descriptor of /dev/fuse. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Answers the request of that `unique` (its two halves) with a positive errno. Throws a Node system error if the kernel
   * refuses the answer; not if nobody waits for it any more.
   */
  send(uniqueLow: number, uniqueHigh: number, errno: number): void {
    this.#words[ReplyHeader.LENGTH] = Size.REPLY_HEADER;
    this.#words[ReplyHeader.ERROR] = -errno;
    this.#words[ReplyHeader.UNIQUE] = uniqueLow;
    this.#words[ReplyHeader.UNIQUE + 1] = uniqueHigh;
    try {
      writeSync(this.#fd, this.#bytes, 0, Size.REPLY_HEADER);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" && code !== "ENODEV") throw error;
    }
  }
}
