/** The sectors of a version that takes some of what has changed, and leaves the rest as it was. */
import type { Kept } from "../../agreement/kept.js";
import type { ClusterTable } from "../cluster-table.js";
import { type Layout, SLOT } from "../layout.js";
import type { Touched } from "./candidate.js";

/** `sectors`: what is on the disk; `held`: files that are to be as they are in `kept`. */
export function compose(
  layout: Layout,
  table: ClusterTable,
  kept: Kept,
  sectors: ReadonlyMap<number, Buffer>,
  held: Iterable<Touched>,
): Map<number, Buffer> {
  const composed = new Map(sectors);
  const copier = new Copier(layout, table, kept, sectors, composed);
  for (const { old, now, oldList, nowList } of held) {
    for (const slot of [...(old?.slots ?? []), ...(now?.slots ?? [])]) copier.slot(slot);
    for (const cluster of oldList.clusters) copier.entry(cluster);
    for (const cluster of nowList.clusters) copier.entry(cluster);
  }
  for (const [sector, bytes] of composed)
    if (kept.get(sector)?.equals(bytes) === true) composed.delete(sector);
  return composed;
}

class Copier {
  readonly #layout: Layout;
  readonly #table: ClusterTable;
  readonly #kept: Kept;
  readonly #sectors: ReadonlyMap<number, Buffer>;
  readonly #composed: Map<number, Buffer>;

  constructor(
    layout: Layout,
    table: ClusterTable,
    kept: Kept,
    sectors: ReadonlyMap<number, Buffer>,
    composed: Map<number, Buffer>,
  ) {
    this.#layout = layout;
    this.#table = table;
    this.#kept = kept;
    this.#sectors = sectors;
    this.#composed = composed;
  }

  slot(slot: number): void {
    for (let n = 0; n < SLOT; n++) this.#byte(slot * SLOT + n, 0xff);
  }

  entry(cluster: number): void {
    const start = this.#layout.tableStart * this.#layout.sectorSize;
    switch (this.#table.width) {
      case 12: {
        const at = start + Math.floor((cluster * 3) / 2);
        this.#byte(at, cluster % 2 === 0 ? 0xff : 0xf0);
        this.#byte(at + 1, cluster % 2 === 0 ? 0x0f : 0xff);
        return;
      }
      case 16:
        for (let n = 0; n < 2; n++) this.#byte(start + cluster * 2 + n, 0xff);
        return;
      default:
        for (let n = 0; n < 4; n++) this.#byte(start + cluster * 4 + n, 0xff);
    }
  }

  /** Takes the bits of `mask` of a byte of the volume from what is kept; zeros, where nothing is. */
  #byte(at: number, mask: number): void {
    const { sectorSize } = this.#layout;
    const sector = Math.floor(at / sectorSize);
    const bytes = this.#own(sector);
    if (bytes === undefined) return;
    const within = at - sector * sectorSize;
    const old = this.#kept.get(sector)?.[within] ?? 0;
    bytes[within] = ((bytes[within] as number) & ~mask) | (old & mask);
  }

  /** A copy of a sector that may be changed; undefined: it is as it was. */
  #own(sector: number): Buffer | undefined {
    const bytes = this.#composed.get(sector);
    if (bytes === undefined || bytes !== this.#sectors.get(sector)) return bytes;
    const copy = Buffer.from(bytes);
    this.#composed.set(sector, copy);
    return copy;
  }
}
