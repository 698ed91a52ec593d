/** What has been decompressed last: reads come in pieces, and a unit is decompressed as a whole. */

/** Units that are kept; of 64 KiB at most but on volumes that Windows would not have compressed. */
const MOST_UNITS = 32;

interface Slot {
  owner: object | undefined;
  unit: number;
  usedAt: number;
  bytes: Buffer;
}

export class UnitCache {
  readonly #slots: Slot[] = [];
  #time = 0;

  /** A unit of a file, `owner` being whoever reads that; undefined: it has to be made. */
  find(owner: object, unit: number): Buffer | undefined {
    for (const slot of this.#slots) {
      if (slot.unit !== unit || slot.owner !== owner) continue;
      slot.usedAt = ++this.#time;
      return slot.bytes;
    }
    return undefined;
  }

  /** Room of `size` bytes for a unit, which counts once `enter` has been called for it. */
  room(size: number): Buffer {
    let slot = this.#slots[0];
    if (this.#slots.length < MOST_UNITS) {
      slot = { owner: undefined, unit: 0, usedAt: 0, bytes: Buffer.alloc(0) };
      this.#slots.push(slot);
    }
    for (const other of this.#slots) if (other.usedAt < (slot as Slot).usedAt) slot = other;
    const oldest = slot as Slot;
    oldest.owner = undefined;
    oldest.usedAt = 0;
    if (oldest.bytes.length < size) oldest.bytes = Buffer.allocUnsafeSlow(size);
    return oldest.bytes;
  }

  /** Notes what the room that was given last holds now. */
  enter(bytes: Buffer, owner: object, unit: number): void {
    const slot = this.#slots.find((one) => one.bytes === bytes);
    if (slot === undefined) return;
    slot.owner = owner;
    slot.unit = unit;
    slot.usedAt = ++this.#time;
  }
}
