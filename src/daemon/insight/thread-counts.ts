/** What a thread that answers users counts, in memory that it shares with the main thread. */
import { RequestCounts } from "../../fuse/kernel/request-counts.js";
import { CacheCount } from "../../versions/block-cache.js";

/** As it passes to the thread. */
export interface SharedCounts {
  readonly requests: SharedArrayBuffer;
  readonly cache: SharedArrayBuffer;
}

export class ThreadCounts {
  readonly requests: RequestCounts;
  /** See CacheCount. */
  readonly cache: Float64Array;
  readonly shared: SharedCounts;

  /** `shared`: those that another thread has made. */
  constructor(shared?: SharedCounts) {
    this.requests = new RequestCounts(shared?.requests);
    const cache = shared?.cache ?? new SharedArrayBuffer(CacheCount.SIZE * Float64Array.BYTES_PER_ELEMENT);
    this.cache = new Float64Array(cache);
    this.shared = { requests: this.requests.shared, cache };
  }
}
