/** The stream of one volume's writes: what its blocks hold is crawled while the guest goes on, and then kept current. */
import type { Step } from "../filesystems/follower.js";
import type { Log } from "../images/image.js";
import { BlockOwners } from "../inference/block-owners.js";
import { ExtentTable } from "../inference/extent-table.js";
import { WriteInference } from "../inference/writes.js";
import type { CrawledBlocks } from "./crawl-thread.js";
import type { FollowedVolume } from "./followed-volume.js";
import type { WriteStatus } from "./status.js";

/** ms after which a crawl that failed is tried again. */
const RETRY = 30_000;
/** Inodes that change while a crawl goes on; if there are more, it is begun again. */
const MOST_CHANGED = 1_000_000;

export interface VolumeStreamOptions {
  readonly volume: FollowedVolume;
  readonly crawl: () => Promise<CrawledBlocks>;
  /** It is known now what the volume's blocks hold. */
  readonly ready: () => void;
  /** ms for which a write is kept that nothing explains yet. */
  readonly unknownLife: number;
  readonly log: Log;
}

export class VolumeStream {
  readonly inference: WriteInference;
  readonly #options: VolumeStreamOptions;
  #owners: BlockOwners | undefined;
  /** While a crawl goes on: the inodes that have changed since it began. */
  #changed: Set<number> | undefined;
  /** Counts crawls: the result of one that was overtaken does not count. */
  #crawls = 0;
  #crawlAt = 0;
  #hasNewMetadata = false;
  #metadata: Float64Array = new Float64Array();

  constructor(options: VolumeStreamOptions) {
    this.#options = options;
    this.inference = new WriteInference(options.volume.length, { unknownLife: options.unknownLife });
    this.lookAtClock(performance.now());
  }

  /** Whether it is known what the volume's blocks hold. */
  get isReady(): boolean {
    return this.#owners !== undefined;
  }

  get status(): WriteStatus {
    const { counters, waiting } = this.inference;
    return { isReady: this.isReady, mapBytes: this.#owners?.bytes ?? 0, waiting, ...counters };
  }

  stop(): void {
    this.#crawls++;
    this.#crawlAt = Number.POSITIVE_INFINITY;
  }

  /** A commit of the volume has been taken. */
  follow({ commit, changes }: Step): void {
    const inodes = [...changes.inodes, ...changes.unsureInodes].map(({ ino }) => ino);
    this.inference.commit(inodes, commit.blocks, commit.revoked);
    this.#hasNewMetadata = true;
    if (this.#changed === undefined) return;
    for (const ino of inodes) this.#changed.add(ino);
    if (this.#changed.size > MOST_CHANGED) this.reopened();
  }

  /** The volume was opened afresh: what was known of it holds no longer. */
  reopened(): void {
    this.#owners = undefined;
    this.inference.forget();
    this.#changed = undefined;
    this.#crawls++;
    this.#crawlAt = 0;
    this.lookAtClock(performance.now());
  }

  /** Begins what is due (ms). */
  lookAtClock(now: number): void {
    const { maps } = this.#options.volume;
    if (this.isReady || this.#changed !== undefined || now < this.#crawlAt || maps === undefined) return;
    this.#changed = new Set();
    void this.#crawl(++this.#crawls);
  }

  /** Bytes of the volume that hold metadata, if they may be others than when this was last asked. */
  metadata(): Float64Array | undefined {
    const { maps } = this.#options.volume;
    if (this.#owners === undefined || maps === undefined) return undefined;
    if (this.#hasNewMetadata) this.#metadata = this.#owners.metadata(maps.blockSize);
    this.#hasNewMetadata = false;
    return this.#metadata;
  }

  async #crawl(number: number): Promise<void> {
    const { volume, crawl, ready, log } = this.#options;
    try {
      const { parts, blocks } = await crawl();
      const changed = this.#changed;
      const { maps } = volume;
      if (number !== this.#crawls || changed === undefined) return;
      this.#changed = undefined;
      // It was opened afresh, and takes a while: then once more.
      if (maps === undefined) return;
      this.#owners = new BlockOwners(blocks, ExtentTable.from(parts));
      this.inference.know(this.#owners, maps, changed);
      this.#hasNewMetadata = true;
      ready();
    } catch (error) {
      if (number !== this.#crawls) return;
      this.#changed = undefined;
      this.#crawlAt = performance.now() + RETRY;
      const about = { guest: volume.guest, volume: volume.volume };
      log(`${volume.key}: its writes are not told by file: ${(error as Error).message}`, about);
    }
  }
}
