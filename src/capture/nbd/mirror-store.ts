/** The target of a mirror: a disk that only listens. It has a size and no bytes, and acknowledges at once. */

import { Allocation } from "../../images/nbd/protocol.js";
import type { Store } from "./export.js";

const DONE = Promise.resolve();

export class MirrorStore implements Store {
  readonly size: number;
  readonly isReadOnly = false;
  // A mirror's writes are one stream: their order across connections would be by chance.
  readonly isShared = false;
  readonly zeroesFast = true;
  readonly keepsData = false;
  readonly allocation = Allocation.HOLE | Allocation.ZERO;

  /** `size`: bytes of the disk that is mirrored. */
  constructor(size: number) {
    this.size = size;
  }

  /** Zeros, whatever was written. */
  read(target: Buffer, targetOffset: number, length: number): Promise<void> {
    target.fill(0, targetOffset, targetOffset + length);
    return DONE;
  }

  write(): Promise<void> {
    return DONE;
  }

  zero(): Promise<void> {
    return DONE;
  }

  flush(): Promise<void> {
    return DONE;
  }

  close(): Promise<void> {
    return DONE;
  }
}
