/** Recognising and opening a FAT file system. */
import type { Log, Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { BlockCache, readFully } from "../../versions/block-cache.js";
import { View } from "../../versions/view.js";
import { ClusterFollower, type FollowedFormat } from "../clusters/agreement/follow.js";
import { crawlClusterBlocks, crawlClusters, crawlStartClusters } from "../clusters/crawl.js";
import { ClusterFileSystem } from "../clusters/file-system.js";
import { Parts } from "../clusters/parts.js";
import type { BlockCrawlSink, Crawled, CrawlSink, CrawlStart } from "../crawler.js";
import type { Follower } from "../follower.js";
import { BootSector, Geometry, isBootSector } from "./boot-sector.js";
import { labelOf, uuidOf } from "./label.js";
import { FatLayout } from "./layout.js";

/** Bytes at hand for whoever wants only the label. */
const SMALL_CACHE = 1 << 20;

function bootSector(source: Source): Buffer {
  const buffer = Buffer.alloc(BootSector.size);
  const length = readFully(source, buffer, buffer.length, 0);
  return buffer.subarray(0, length);
}

/** Whether a boot sector of FAT's is there; the file system may still be one that cannot be opened. Throws IoError. */
export function isFat(source: Source): boolean {
  return isBootSector(bootSector(source));
}

/** Type, label and UUID, also of a file system that cannot be opened. Throws IoError. */
export function identifyFat(source: Source): { type: string; label: string; uuid: string } {
  const boot = BootSector.at(bootSector(source));
  let label = "";
  let serial = 0;
  try {
    const geometry = new Geometry(boot);
    serial = geometry.serial;
    label = readLabel(source, new FatLayout(geometry), new BlockCache(SMALL_CACHE));
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
  }
  return { type: "vfat", label, uuid: uuidOf(serial) };
}

function readLabel(source: Source, layout: FatLayout, cache: BlockCache): string {
  const view = new View(source, layout.sectorSize, cache);
  return labelOf(layout.geometry, new Parts(layout, view).directories.slots(layout.rootInode));
}

/** The file system's shape. Throws IoError when it cannot be read. */
export function fatLayout(source: Source): FatLayout {
  const buffer = bootSector(source);
  if (!isBootSector(buffer)) throw new IoError(EIO, "there is no boot sector of FAT's");
  return new FatLayout(new Geometry(BootSector.at(buffer)));
}

/** Throws IoError when it cannot be read or needs what is not known here. */
export function openFat(source: Source, cache: BlockCache): ClusterFileSystem {
  const layout = fatLayout(source);
  const view = new View(source, layout.sectorSize, cache);
  return new ClusterFileSystem(layout, view, identifyFat(source).label, uuidOf(layout.geometry.serial));
}

/** Follows a FAT file system by what its structures agree on; undefined if there is too much to keep. Throws IoError. */
export function followFat(source: Source, cache: BlockCache, log: Log, after?: number): Follower | undefined {
  const layout = fatLayout(source);
  const format: FollowedFormat = {
    layout,
    isSame: (now) => sameShape(fatLayout(now).geometry, layout.geometry),
    marks: () => [],
    isMarked: () => true,
  };
  return ClusterFollower.open(source, format, cache, log, after);
}

function sameShape(now: Geometry, before: Geometry): boolean {
  const keys = [
    "width",
    "clusters",
    "clusterSize",
    "sectorSize",
    "tableStart",
    "rootCluster",
    "dataSector",
    "serial",
  ] as const;
  return keys.every((key) => now[key] === before[key]);
}

/** See crawlStart. */
export function crawlStartFat(source: Source): CrawlStart {
  return crawlStartClusters(fatLayout(source));
}

/** See crawlFileSystem. */
export function crawlFat(source: Source, cache: BlockCache, log: Log, sink: CrawlSink): Crawled {
  return crawlClusters(fatLayout(source), source, cache, log, sink);
}

/** See crawlBlocks. */
export function crawlFatBlocks(source: Source, cache: BlockCache, log: Log, sink: BlockCrawlSink): Crawled {
  return crawlClusterBlocks(fatLayout(source), source, cache, log, sink);
}
