/** What an exFAT file system has of its own for its follower: its bitmap. */
import type { Source } from "../../images/image.js";
import { IoError } from "../../images/io-error.js";
import type { FollowedFormat } from "../clusters/agreement/follow.js";
import type { TreeReader } from "../clusters/agreement/tree.js";
import { FIRST_CLUSTER } from "../clusters/cluster-table.js";
import { readGeometry } from "./boot-sector.js";
import type { ExfatLayout } from "./layout.js";

export class FollowedExfat implements FollowedFormat {
  readonly layout: ExfatLayout;
  /** The bitmap's sectors in their order. */
  #sectors: readonly number[] = [];

  constructor(layout: ExfatLayout) {
    this.layout = layout;
  }

  isSame(source: Source): boolean {
    const now = readGeometry(source);
    const before = this.layout.geometry;
    return Object.entries(before).every(([key, value]) => now[key as keyof typeof now] === value);
  }

  marks(reader: TreeReader): readonly number[] {
    const { bitmap, clusterSize, clusters, firstSector, sectorSize } = this.layout;
    if (bitmap === undefined) return [];
    const each = clusterSize / sectorSize;
    const needed = Math.ceil(clusters / (sectorSize * 8));
    const list = reader.clusters({ firstCluster: bitmap.firstCluster, isContiguous: false }, 0).clusters;
    const sectors = list.flatMap((cluster) =>
      Array.from({ length: each }, (_, n) => firstSector + (cluster - FIRST_CLUSTER) * each + n),
    );
    this.#sectors = sectors.slice(0, needed);
    return this.#sectors;
  }

  isMarked(cluster: number, reader: TreeReader): boolean {
    const [index, bit] = this.layout.bitOf(cluster);
    const sector = this.#sectors[index];
    if (sector === undefined) return true;
    try {
      const buffer = reader.blocks.locate(sector);
      return (((buffer[reader.blocks.at + (bit >> 3)] as number) >> (bit & 7)) & 1) !== 0;
    } catch (error) {
      if (error instanceof IoError) return true;
      throw error;
    }
  }
}
