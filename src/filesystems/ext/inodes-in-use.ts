/** Going through the inodes of a group that are in use by its bitmap, in their order. */
import { IoError } from "../../images/io-error.js";
import type { Parts } from "./parts.js";

export class InodesInUse {
  readonly #parts: Parts;
  readonly #bitmap: Buffer;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#bitmap = Buffer.alloc(Math.ceil(parts.geometry.inodesPerGroup / 8));
  }

  /** False: the group's bitmap cannot be read. */
  visit(group: number, take: (ino: number) => void): boolean {
    const { geometry, groups } = this.#parts;
    const first = group * geometry.inodesPerGroup + 1;
    const bitmap = this.#bitmap;
    let used = 0;
    try {
      used = groups.usedInodes(group, bitmap);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return false;
    }
    for (let index = 0; index < used; index++) {
      const bits = bitmap[index >> 3] as number;
      if (bits === 0) index |= 7;
      else if (((bits >> (index & 7)) & 1) !== 0) take(first + index);
    }
    return true;
  }
}
