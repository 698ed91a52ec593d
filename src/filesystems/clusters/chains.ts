/** Where the clusters of a file lie: its chain in the table, remembered as runs of clusters that follow each other. */
import { EIO, IoError } from "../../images/io-error.js";
import { type ClusterTable, Link } from "./cluster-table.js";

/** Runs of one chain, and of all that are remembered. */
const MOST_RUNS = 1 << 21;
const MOST_REMEMBERED = 1 << 18;
/** Clusters of one run: what is looked at before an answer can be given. */
const LONGEST_RUN = 1 << 16;

/** As much of a chain as has been looked at. */
class Chain {
  /** Of each run: its place in the chain and on the volume, both as numbers of clusters. */
  readonly logical: number[] = [];
  readonly physical: number[] = [];
  /** Clusters that are known. */
  length = 0;
  /** The cluster that follows what is known, or a Link. */
  next: number;
  /** A run's first cluster that is looked for again, and after how many runs another one is taken (Brent). */
  mark = 0;
  markAt = 2;

  constructor(first: number) {
    this.next = first;
  }
}

export class Chains {
  /** Of what was found last: a cluster's number, and how many from there on follow each other. */
  cluster = 0;
  count = 0;
  readonly #table: ClusterTable;
  readonly #clusters: number;
  readonly #chains = new Map<number, Chain>();
  #remembered = 0;

  /** `clusters`: how many the volume has. */
  constructor(table: ClusterTable, clusters: number) {
    this.#table = table;
    this.#clusters = clusters;
  }

  /** Forgets all chains. */
  forget(): void {
    this.#chains.clear();
    this.#remembered = 0;
  }

  /**
   * Finds the cluster at place `index` (from 0) of the chain that begins with `first`; fills `cluster` and `count`. False
   * if the chain ends before. Throws IoError where it is broken.
   */
  find(first: number, index: number): boolean {
    const chain = this.#chain(first);
    while (index >= chain.length) if (!this.#extend(first, chain)) return false;
    const { logical, physical } = chain;
    let low = 0;
    let high = logical.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((logical[middle] as number) <= index) low = middle;
      else high = middle - 1;
    }
    const start = logical[low] as number;
    const end = low + 1 < logical.length ? (logical[low + 1] as number) : chain.length;
    this.cluster = (physical[low] as number) + index - start;
    this.count = end - index;
    return true;
  }

  /** How many clusters a chain has. Throws IoError where it is broken. */
  length(first: number): number {
    const chain = this.#chain(first);
    while (this.#extend(first, chain));
    return chain.length;
  }

  #chain(first: number): Chain {
    let chain = this.#chains.get(first);
    if (chain === undefined) {
      if (this.#remembered > MOST_REMEMBERED) this.forget();
      chain = new Chain(first);
      this.#chains.set(first, chain);
      this.#remembered++;
    }
    return chain;
  }

  /** Looks at one run more; false at the end. */
  #extend(first: number, chain: Chain): boolean {
    const { next: cluster, logical, physical } = chain;
    if (cluster === Link.END) return false;
    if (cluster < 0 || !this.#table.isCluster(cluster)) throw broken(first, "leads to no cluster");
    const count = this.#table.run(cluster, LONGEST_RUN);
    const { after } = this.#table;
    if (after === Link.FREE) throw broken(first, `has cluster ${cluster + count - 1}, which is free`);
    if (chain.length + count > this.#clusters || cluster === chain.mark) throw broken(first, "is a circle");
    if (logical.length >= MOST_RUNS) throw broken(first, `has more than ${MOST_RUNS} parts`);
    if (logical.length === chain.markAt) {
      chain.mark = cluster;
      chain.markAt *= 2;
    }
    const last = logical.length - 1;
    // Most circles lead back to the beginning, or to what was there just now: files that are short show them, too.
    if (cluster === first && chain.length > 0) throw broken(first, "is a circle");
    const back = last < 0 ? -1 : cluster - (physical[last] as number);
    if (back >= 0 && back < chain.length - (logical[last] as number)) throw broken(first, "is a circle");
    const continues =
      last >= 0 && (physical[last] as number) + chain.length - (logical[last] as number) === cluster;
    if (!continues) {
      logical.push(chain.length);
      physical.push(cluster);
      this.#remembered++;
    }
    chain.length += count;
    chain.next = after;
    return true;
  }
}

function broken(first: number, what: string): IoError {
  return new IoError(EIO, `the chain of cluster ${first} ${what}`);
}
