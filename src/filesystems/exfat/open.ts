/** Recognising and opening an exFAT file system. */
import type { Log, Source } from "../../images/image.js";
import { IoError } from "../../images/io-error.js";
import { BlockCache, readFully } from "../../versions/block-cache.js";
import { View } from "../../versions/view.js";
import { ClusterFollower } from "../clusters/agreement/follow.js";
import { Content } from "../clusters/content.js";
import { crawlClusterBlocks, crawlClusters, crawlStartClusters } from "../clusters/crawl.js";
import { DirectoryEntry } from "../clusters/entry.js";
import { ClusterFileSystem } from "../clusters/file-system.js";
import { SLOT, type Slots } from "../clusters/layout.js";
import { Parts } from "../clusters/parts.js";
import type { BlockCrawlSink, Crawled, CrawlSink, CrawlStart } from "../crawler.js";
import type { Follower } from "../follower.js";
import { BootSector, isBootSector, readGeometry } from "./boot-sector.js";
import { EntryKind, LabelEntry, TableEntry } from "./entries.js";
import { FollowedExfat } from "./followed.js";
import { ExfatLayout } from "./layout.js";
import { expandTable, LARGEST_TABLE, standardTable, tableChecksum } from "./upcase.js";

/** Bytes at hand for whoever wants only the label. */
const SMALL_CACHE = 1 << 20;
/** The most characters of a label. */
const LONGEST_LABEL = 11;

/** Whether a boot sector of exFAT's is there; the file system may still be one that cannot be opened. Throws IoError. */
export function isExfat(source: Source): boolean {
  const buffer = Buffer.alloc(BootSector.size);
  return isBootSector(buffer.subarray(0, readFully(source, buffer, buffer.length, 0)));
}

/** Type, label and UUID, also of a file system that cannot be opened. Throws IoError. */
export function identifyExfat(source: Source): { type: string; label: string; uuid: string } {
  const buffer = Buffer.alloc(BootSector.size);
  readFully(source, buffer, buffer.length, 0);
  const uuid = uuidOf(BootSector.at(buffer).VolumeSerialNumber);
  try {
    const layout = new ExfatLayout(readGeometry(source));
    const view = new View(source, layout.sectorSize, new BlockCache(SMALL_CACHE));
    const { label } = readRoot(new Parts(layout, view).directories.slots(layout.rootInode));
    return { type: "exfat", label, uuid };
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    return { type: "exfat", label: "", uuid };
  }
}

/** A file system's shape, and its label. Throws IoError. */
export function exfatLayout(
  source: Source,
  cache: BlockCache,
  log: Log,
): { layout: ExfatLayout; label: string } {
  const layout = new ExfatLayout(readGeometry(source));
  const view = new View(source, layout.sectorSize, cache);
  const parts = new Parts(layout, view);
  const { label, bitmap, upcase } = readRoot(parts.directories.slots(layout.rootInode));
  layout.bitmap = bitmap;
  if (bitmap === undefined) log("it has no allocation bitmap: how much is free is not known");
  layout.upcase = readUpcase(layout, new Content(layout, view, parts.chains), upcase, log);
  return { layout, label };
}

/** Throws IoError when it cannot be read or needs what is not known here. */
export function openExfat(source: Source, cache: BlockCache, log: Log): ClusterFileSystem {
  const { layout, label } = exfatLayout(source, cache, log);
  const view = new View(source, layout.sectorSize, cache);
  return new ClusterFileSystem(layout, view, label, uuidOf(layout.geometry.serial));
}

/** A file that holds one of the volume's own tables. */
interface StoredTable {
  readonly firstCluster: number;
  /** Bytes. */
  readonly size: number;
  readonly checksum: number;
}

interface RootEntries {
  label: string;
  bitmap: StoredTable | undefined;
  upcase: StoredTable | undefined;
}

/** What the root directory has beside files: of each the first. Throws IoError. */
function readRoot(slots: Slots): RootEntries {
  const found: RootEntries = { label: "", bitmap: undefined, upcase: undefined };
  const bytes = Buffer.alloc(SLOT);
  for (let slot = 0; ; slot++) {
    const buffer = slots.locate(slot);
    if (buffer === undefined) return found;
    buffer.copy(bytes, 0, slots.at, slots.at + SLOT);
    const kind = bytes[0] as number;
    if (kind === EntryKind.END) return found;
    if (kind === EntryKind.LABEL && found.label === "") {
      const { CharacterCount, VolumeLabel } = LabelEntry.at(bytes);
      const length = Math.min(CharacterCount, LONGEST_LABEL) * 2;
      found.label = VolumeLabel.toString("utf16le", 0, length);
    } else if (kind === EntryKind.BITMAP || kind === EntryKind.UPCASE) {
      const { BitmapFlags, FirstCluster, DataLength, TableChecksum } = TableEntry.at(bytes);
      const stored = { firstCluster: FirstCluster, size: DataLength, checksum: TableChecksum };
      if (kind === EntryKind.UPCASE) found.upcase ??= stored;
      // With two tables there are two bitmaps, each for its own: the second is for the second.
      else if ((BitmapFlags & 1) === 0) found.bitmap ??= stored;
    }
  }
}

function readUpcase(
  { clusterSize, clusters }: ExfatLayout,
  content: Content,
  stored: StoredTable | undefined,
  log: Log,
): Uint16Array {
  try {
    if (
      stored !== undefined &&
      stored.size > 0 &&
      stored.size <= Math.min(LARGEST_TABLE, clusters * clusterSize)
    ) {
      const table = Buffer.alloc(stored.size);
      const file = new DirectoryEntry();
      file.firstCluster = stored.firstCluster;
      file.size = file.validSize = stored.size;
      content.read(file, 0, stored.size, table, 0);
      if (tableChecksum(table) === stored.checksum) return expandTable(table);
    }
    log("its up-case table is damaged: names are compared by the usual one");
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    log(`its up-case table cannot be read (${error.message}): names are compared by the usual one`);
  }
  return standardTable();
}

/** `ABCD-1234`; "" for none. */
function uuidOf(serial: number): string {
  if (serial === 0) return "";
  const hex = serial.toString(16).toUpperCase().padStart(8, "0");
  return `${hex.slice(0, 4)}-${hex.slice(4)}`;
}

/** Follows an exFAT file system by what its structures agree on; undefined if there is too much to keep. Throws IoError. */
export function followExfat(
  source: Source,
  cache: BlockCache,
  log: Log,
  after?: number,
): Follower | undefined {
  // What it has to say has been said when the file system was opened.
  const { layout } = exfatLayout(source, cache, () => {});
  return ClusterFollower.open(source, new FollowedExfat(layout), cache, log, after);
}

/** See crawlStart. */
export function crawlStartExfat(source: Source): CrawlStart {
  return crawlStartClusters(new ExfatLayout(readGeometry(source)));
}

/** See crawlFileSystem. */
export function crawlExfat(source: Source, cache: BlockCache, log: Log, sink: CrawlSink): Crawled {
  return crawlClusters(new ExfatLayout(readGeometry(source)), source, cache, log, sink);
}

/** See crawlBlocks. */
export function crawlExfatBlocks(source: Source, cache: BlockCache, log: Log, sink: BlockCrawlSink): Crawled {
  return crawlClusterBlocks(new ExfatLayout(readGeometry(source)), source, cache, log, sink);
}
