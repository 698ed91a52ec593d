/** Crawling an NTFS volume for what each of its clusters holds: the runs of all files, the format's own among them. */
import type { Log, Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { BlockCache } from "../../versions/block-cache.js";
import type { BlockCrawlSink, Crawled } from "../crawler.js";
import { openParts } from "./crawl.js";
import { Inode } from "./inode.js";
import { InodeClusters } from "./inode-clusters.js";
import { BadRecords, eachRecord } from "./records-in-use.js";

/** Bytes of the cache that a second look has for itself. */
const SECOND_CACHE = 2 << 20;

/** See crawlBlocks. */
export function crawlNtfsBlocks(source: Source, cache: BlockCache, log: Log, sink: BlockCrawlSink): Crawled {
  const { mft, geometry } = openParts(source, cache);
  sink.begin(geometry.clusterSize, geometry.clusters);
  const clusters = new InodeClusters(mft);
  const bounded = bound(sink, geometry.clusters);
  const first = new BadRecords();
  eachRecord(mft, new Inode(mft), first, (inode) => clusters.tell(inode, bounded));
  if (first.why.size === 0) return { sequence: undefined, bad: 0 };
  // The guest may have been writing what was read.
  const again = openParts(source, new BlockCache(SECOND_CACHE)).mft;
  const second = new BadRecords();
  const clustersAgain = new InodeClusters(again);
  const inode = new Inode(again);
  for (const number of first.why.keys()) {
    try {
      if (inode.loadIfUsed(number)) clustersAgain.tell(inode, bounded);
    } catch (error) {
      second.note(number, error);
    }
  }
  return { sequence: undefined, bad: second.tell(log) };
}

/** No cluster is in two files, nor twice in one: what tells of many more than there are is bad as a whole. */
function bound(sink: BlockCrawlSink, clusters: number): Pick<BlockCrawlSink, "extent"> {
  let left = clusters * 2;
  return {
    extent: (physical, count, inode, logical, kind) => {
      left -= count;
      if (left < 0) throw new IoError(EIO, "files have more clusters than the volume");
      sink.extent(physical, count, inode, logical, kind);
    },
  };
}
