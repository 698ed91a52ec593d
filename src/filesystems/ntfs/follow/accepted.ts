/** The version that has been agreed on: records in use, blocks of directories, and whose those are. */

import type { Source } from "../../../images/image.js";
import type { BlockCache } from "../../../versions/block-cache.js";
import { Kept } from "../../agreement/kept.js";
import { EXACT } from "../../filesystem.js";
import type { Geometry } from "../boot-sector.js";
import { SystemRecord } from "../mft.js";
import { Parts } from "../parts.js";
import { type Copies, CopiesView } from "./copies-view.js";
import type { RecordPlaces } from "./record-places.js";
import { isSystem, type Side, Sides } from "./side.js";

export class Accepted implements Copies {
  readonly geometry: Geometry;
  readonly parts: Parts;
  /** Records in use by number, as they are on the disk. */
  readonly records = new Map<number, Buffer>();
  /** Blocks of directories and of attribute lists. */
  readonly others = new Kept();
  /** The file that each of those is of. */
  readonly owners = new Map<number, number>();
  /** Directories that the tree does not list: what is below $Extend. */
  readonly hidden = new Set<number>();
  places: RecordPlaces;
  at = 0;
  readonly #sides: Sides;
  readonly #none: Buffer;

  constructor(source: Source, geometry: Geometry, cache: BlockCache, places: RecordPlaces) {
    this.geometry = geometry;
    this.places = places;
    this.#none = Buffer.alloc(geometry.recordSize);
    const view = new CopiesView(source, geometry.blockSize, cache, this);
    this.parts = new Parts(geometry, view, () => {}, EXACT);
    this.#sides = new Sides(this.parts);
  }

  /** Bytes of what is kept. */
  get size(): number {
    return this.records.size * this.geometry.recordSize + this.others.size * this.geometry.blockSize;
  }

  find(block: number): Buffer | undefined {
    const record = this.places.recordAt(block);
    if (record < 0) {
      this.at = 0;
      return this.others.get(block);
    }
    this.at = this.places.within;
    // What is in the place of a record that is not in use is of a later version.
    return this.records.get(record) ?? this.#none;
  }

  /** A file as it is in this version. */
  side(ino: number, most: number): Side {
    return this.#sides.of(ino, this.records.has(ino), most);
  }

  get inode() {
    return this.#sides.inode;
  }

  /** Whether the tree lists what is in a directory. */
  isListed(directory: number): boolean {
    return !isSystem(directory) && !this.hidden.has(directory);
  }

  /** Whether the tree shows a file: it has a name, and not only such as are not listed. */
  isShown({ ino, names }: Side): boolean {
    if (ino === SystemRecord.ROOT) return true;
    for (const { directory } of names.values()) if (this.isListed(directory)) return true;
    return false;
  }

  /** Notes whether what is in a directory is listed. */
  noteHidden(side: Side): void {
    if (side.isDirectory && !isSystem(side.ino) && side.names.size > 0 && !this.isShown(side))
      this.hidden.add(side.ino);
    else this.hidden.delete(side.ino);
  }
}
