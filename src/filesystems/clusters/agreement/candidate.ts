/**
 * What the disk shows that has not been agreed on: files that came, went or changed, by comparing what directories and
 * chains are now with the version that is kept; which of them agree; and which can only be taken with others.
 */
import { IoError } from "../../../images/io-error.js";
import type { Blocks } from "../blocks.js";
import { FIRST_CLUSTER } from "../cluster-table.js";
import type { DirectoryPlace, Layout } from "../layout.js";
import { clustersNeeded, type KnownFile, placeOfFile } from "./file.js";
import { type ClusterList, type KnownDirectory, type KnownTree, MOST_FILES, TreeReader } from "./tree.js";

/** How far a file is from agreeing. */
export const Verdict = {
  AGREES: 0,
  /** Users would see a file by none of its names, or by a name that is not its own. */
  BLURRED: 1,
  /** Users would get errors, or another file's bytes. */
  BROKEN: 2,
} as const;

/** A file that is another than before, or was not there, or is no longer. */
export interface Touched {
  readonly ino: number;
  readonly old: KnownFile | undefined;
  now: KnownFile | undefined;
  /** Its clusters in both versions. */
  oldList: ClusterList;
  nowList: ClusterList;
  /** Of a directory: what is in it now. */
  contents: KnownDirectory | undefined;
  verdict: number;
}

/** Directories within each other that are counted. */
const DEEPEST = 1000;

const NO_CLUSTERS: ClusterList = { clusters: [], isBroken: false };

export class Candidate {
  readonly touched = new Map<number, Touched>();
  readonly #tree: KnownTree;
  readonly #layout: Layout;
  readonly #old: TreeReader;
  readonly #now: TreeReader;
  /** Whether a cluster is in use by what the format has for it beside the table. */
  readonly #isMarked: (cluster: number) => boolean;
  /** Directories with sectors that differ. */
  readonly #changed: ReadonlySet<number>;
  readonly #compared = new Set<number>();
  /** What is in directories now, as far as it has been looked at. */
  readonly contents = new Map<number, KnownDirectory>();
  #files = 0;

  /** `kept` and `disk`: sectors of both versions; `changed`: those that differ. */
  constructor(
    tree: KnownTree,
    kept: Blocks,
    disk: Blocks,
    changed: Iterable<number>,
    isMarked: (cluster: number) => boolean,
  ) {
    this.#tree = tree;
    this.#layout = tree.layout;
    this.#old = new TreeReader(tree.layout, kept);
    this.#now = new TreeReader(tree.layout, disk);
    this.#isMarked = isMarked;
    const directories = new Set<number>();
    const entries: number[] = [];
    const chains: number[] = [];
    const { tableStart, tableSectors } = tree.layout;
    for (const sector of changed) {
      const directory = tree.directoryOf.get(sector);
      if (directory !== undefined) directories.add(directory);
      else if (sector >= tableStart && sector < tableStart + tableSectors) entries.push(sector);
    }
    for (const ino of this.#chainsIn(entries)) {
      if (tree.directories.has(ino)) directories.add(ino);
      else chains.push(ino);
    }
    this.#changed = directories;
    // Whether a directory is still there its parent tells: so that comes first.
    const depths = new Map([...directories].map((ino) => [ino, this.#depth(ino)]));
    for (const ino of [...directories].sort((a, b) => (depths.get(a) ?? 0) - (depths.get(b) ?? 0)))
      this.#compare(ino);
    this.#reachDirectories();
    // Last, as a file whose entry has changed, too, is known by then.
    for (const ino of chains) if (!this.touched.has(ino)) this.#touchChain(ino);
    this.#judge();
  }

  /** Whether there are more files than can be kept. */
  get isTooMuch(): boolean {
    return this.#files + this.#tree.files.size > MOST_FILES;
  }

  /** The clusters that the root had, and has, if it has been looked at; it has no entry, and is not among the files. */
  get rootClusters(): { readonly old: readonly number[]; readonly now: readonly number[] } {
    const { clusterSize, mostSlots, root, rootInode } = this.#layout;
    if (!this.contents.has(rootInode)) return { old: [], now: [] };
    const most = Math.ceil((mostSlots * 32) / clusterSize);
    return {
      old: this.#old.clusters(root, 0, most).clusters,
      now: this.#now.clusters(root, 0, most).clusters,
    };
  }

  /** Files that are not to be taken: those that `mustWait`, and all that cannot be taken without them. */
  held(mustWait: (touched: Touched) => boolean): Set<Touched> {
    const held = new Set<Touched>();
    for (const one of this.touched.values())
      if (one.verdict !== Verdict.AGREES && mustWait(one)) held.add(one);
    if (held.size === 0) return held;
    const heldClusters = new Set<number>();
    const heldSlots = new Set<number>();
    const heldNames = new Set<string>();
    // Directories that something is to stay in.
    const inUse = new Set<number>();
    let unseen = [...held];
    while (unseen.length > 0) {
      for (const { old, now, oldList, nowList } of unseen) {
        for (const cluster of oldList.clusters) heldClusters.add(cluster);
        for (const cluster of nowList.clusters) heldClusters.add(cluster);
        if (old !== undefined) {
          inUse.add(old.directory);
          heldNames.add(nameOf(old));
        }
        for (const slot of old?.slots ?? []) heldSlots.add(slot);
        for (const slot of now?.slots ?? []) heldSlots.add(slot);
      }
      unseen = [];
      for (const one of this.touched.values())
        if (
          !held.has(one) &&
          ((one.now === undefined && inUse.has(one.ino)) ||
            (one.now !== undefined && heldNames.has(nameOf(one.now))) ||
            this.#dependsOn(one, held, heldClusters, heldSlots))
        )
          unseen.push(one);
      for (const one of unseen) held.add(one);
    }
    return held;
  }

  #dependsOn(one: Touched, held: Set<Touched>, clusters: Set<number>, slots: Set<number>): boolean {
    const { old, now, oldList, nowList } = one;
    for (const file of [old, now]) {
      if (file === undefined) continue;
      // A directory that is held and was not there, or is not there any longer.
      const directory = this.touched.get(file.directory);
      if (directory !== undefined && held.has(directory)) {
        const stays = directory.old !== undefined && directory.now !== undefined;
        if (!stays || file.slots.some((slot) => clusters.has(this.#clusterOfSlot(slot)))) return true;
      }
      if (file.slots.some((slot) => slots.has(slot))) return true;
    }
    return (
      nowList.clusters.some((cluster) => clusters.has(cluster)) ||
      oldList.clusters.some((cluster) => clusters.has(cluster))
    );
  }

  #clusterOfSlot(slot: number): number {
    const { clusterSize, firstSector, sectorSize } = this.#layout;
    const bytes = slot * 32 - firstSector * sectorSize;
    return bytes < 0 ? 0 : Math.floor(bytes / clusterSize) + FIRST_CLUSTER;
  }

  /** Files that have, or had, one of the clusters whose entries differ in some sectors of the table. */
  #chainsIn(sectors: readonly number[]): Set<number> {
    const { owners } = this.#tree;
    const found = new Set<number>();
    for (const sector of sectors) {
      const [first, last] = this.#clustersOf(sector);
      for (let cluster = first; cluster <= last; cluster++) {
        const owner = owners[cluster] as number;
        if (owner !== 0 && this.#old.next(cluster) !== this.#now.next(cluster)) found.add(owner);
      }
    }
    return found;
  }

  /** The clusters that have an entry in a sector of the table, or a part of one. */
  #clustersOf(sector: number): readonly [number, number] {
    const { clusters, sectorSize, tableStart } = this.#layout;
    const { width } = this.#now.table;
    const bits = width === 28 ? 32 : width;
    const from = (sector - tableStart) * sectorSize * 8;
    const first = Math.max(FIRST_CLUSTER, Math.floor(from / bits));
    const last = Math.min(clusters + FIRST_CLUSTER - 1, Math.ceil((from + sectorSize * 8) / bits));
    return [first, last];
  }

  /** A file whose chain has changed, though its entry may not have. */
  #touchChain(ino: number): void {
    const file = this.#tree.files.get(ino);
    if (file !== undefined) this.#touch(file, file);
  }

  #touch(old: KnownFile | undefined, now: KnownFile | undefined): void {
    const ino = (now ?? old)?.ino ?? 0;
    const known = this.touched.get(ino);
    if (known === undefined) {
      this.#files++;
      const one = {
        ino,
        old,
        now,
        oldList: NO_CLUSTERS,
        nowList: NO_CLUSTERS,
        contents: undefined,
        verdict: 0,
      };
      this.touched.set(ino, one);
      return;
    }
    // A directory that has moved: it is missed in one place, and found in another.
    this.touched.set(ino, { ...known, old: old ?? known.old, now: now ?? known.now });
    if (known.now !== undefined && now !== undefined && known.now.place !== now.place)
      (this.touched.get(ino) as Touched).verdict = Verdict.BROKEN;
  }

  /** Compares what is in a directory, if it is still there. */
  #compare(ino: number): void {
    if (ino === this.#layout.rootInode) {
      this.#compareContents(ino, this.#tree.directories.get(ino), this.#layout.root);
      return;
    }
    const one = this.touched.get(ino);
    const file = one === undefined ? this.#tree.files.get(ino) : one.now;
    if (file === undefined || (one === undefined && this.#isBelowGone(file))) return;
    if (one === undefined) this.#touch(file, file);
    this.#compareContents(ino, this.#tree.directories.get(ino), placeOfFile(file));
  }

  /** Whether one of the directories that it was in is gone. */
  #isBelowGone({ directory }: KnownFile): boolean {
    let above: number | undefined = directory;
    for (let depth = 0; above !== undefined && depth < DEEPEST; depth++) {
      const one = this.touched.get(above);
      if (one !== undefined) return one.now === undefined;
      above = this.#tree.files.get(above)?.directory;
    }
    return false;
  }

  #depth(ino: number): number {
    let depth = 0;
    for (let file = this.#tree.files.get(ino); file !== undefined && depth < DEEPEST; depth++)
      file = this.#tree.files.get(file.directory);
    return depth;
  }

  #compareContents(ino: number, before: KnownDirectory | undefined, place: DirectoryPlace): void {
    if (this.#compared.has(ino) || this.isTooMuch) return;
    this.#compared.add(ino);
    const now = this.#now.directory(ino, place);
    this.contents.set(ino, now);
    for (const [at, old] of before?.files ?? []) {
      const file = now.files.get(at);
      if (file?.raw === old.raw && file.ino === old.ino) continue;
      if (file === undefined || file.ino !== old.ino) this.#touch(old, undefined);
      else this.#touch(old, file);
    }
    for (const [at, file] of now.files) {
      const old = before?.files.get(at);
      if (old?.ino === file.ino) continue;
      // Where two entries lead to one directory, it is not new.
      this.#touch(this.touched.get(file.ino)?.old ?? this.#staying(file), file);
    }
  }

  /** A directory that an entry leads to, though it has another one already. */
  #staying(file: KnownFile): KnownFile | undefined {
    return file.isDirectory ? this.#tree.files.get(file.ino) : undefined;
  }

  #judge(): void {
    const { claims, owners } = this.#tree;
    const all = [...this.touched.values()];
    for (const one of all) this.#findClusters(one);
    const root = this.rootClusters;
    const givenUp = new Set(root.old);
    for (const cluster of root.now) givenUp.delete(cluster);
    for (const [index, one] of all.entries()) {
      for (const cluster of one.nowList.clusters) {
        const other = all[(claims[cluster] as number) - 1];
        claims[cluster] = index + 1;
        const owner = owners[cluster] as number;
        // Who had it and has not changed has it still.
        const isOwned = owner !== 0 && owner !== one.ino && !this.touched.has(owner) && !givenUp.has(cluster);
        if (other === undefined && !isOwned) continue;
        // What two had before they may go on to have.
        if (one.oldList.clusters.includes(cluster)) continue;
        one.verdict = Verdict.BROKEN;
        if (other !== undefined) other.verdict = Verdict.BROKEN;
      }
    }
    const come = new Set(all.flatMap(({ now }) => (now === undefined ? [] : [nameOf(now)])));
    for (const one of all) one.verdict = Math.max(one.verdict, this.#verdict(one, come));
    for (const one of all) for (const cluster of one.nowList.clusters) claims[cluster] = 0;
  }

  /** Looks into directories that came, moved or changed, and at what was in those that went. */
  #reachDirectories(): void {
    for (;;) {
      const before = this.touched.size + this.#compared.size;
      for (const { ino, old, now } of [...this.touched.values()]) {
        if (this.isTooMuch) return;
        if (now?.isDirectory === true && !now.isBad) {
          const isSame = old?.firstCluster === now.firstCluster && this.#tree.directories.has(ino);
          if (!isSame || old?.size !== now.size || this.#changed.has(ino))
            this.#compareContents(
              ino,
              isSame ? this.#tree.directories.get(ino) : undefined,
              placeOfFile(now),
            );
        } else if (old?.isDirectory === true && now?.isDirectory !== true && !this.#compared.has(ino)) {
          this.#compared.add(ino);
          for (const file of this.#tree.directories.get(ino)?.files.values() ?? []) {
            // What has moved is known to have been there.
            if (this.touched.get(file.ino)?.old === undefined) this.#touch(file, undefined);
          }
        }
      }
      if (this.touched.size + this.#compared.size === before) return;
    }
  }

  #findClusters(one: Touched): void {
    const { clusterSize } = this.#layout;
    const { old, now } = one;
    if (old !== undefined) one.oldList = this.#old.clusters(old, clustersNeeded(old, clusterSize));
    if (now !== undefined && !now.isBad)
      one.nowList = this.#now.clusters(now, clustersNeeded(now, clusterSize));
    if (now?.isDirectory === true) one.contents = this.contents.get(one.ino);
  }

  /** `come`: names that are there, of files that are others than before. */
  #verdict({ ino, old, now, oldList, nowList }: Touched, come: ReadonlySet<string>): number {
    if (now === undefined) {
      // Whoever takes a name over has the other file deleted.
      const isReplaced = old !== undefined && come.has(nameOf(old));
      return isReplaced ? Verdict.AGREES : this.#verdictOfGone(old, oldList);
    }
    const { clusters, isBroken } = nowList;
    const needed = now.isDirectory ? 1 : clustersNeeded(now, this.#layout.clusterSize);
    if (now.isBad || isBroken || clusters.length < needed) {
      // What was as wrong before is no matter.
      return isAsWrong(old, now, oldList, nowList) ? Verdict.AGREES : Verdict.BROKEN;
    }
    if (now.isDirectory && (this.contents.get(ino)?.isBad === true || !this.#isDirectory(ino)))
      return Verdict.BROKEN;
    const first = clusters[0];
    if (first !== undefined && !this.#isMarked(first)) return Verdict.BLURRED;
    if (now.isDirectory && old !== undefined && now.place !== old.place && this.#isStillAt(old))
      return Verdict.BLURRED;
    return old === undefined && now.lacksName ? Verdict.BLURRED : Verdict.AGREES;
  }

  /** A file that is gone, and whose clusters are neither free nor another one's: it may have another name in a moment. */
  #verdictOfGone(old: KnownFile | undefined, { clusters }: ClusterList): number {
    const first = clusters[0];
    if (old === undefined || first === undefined || this.#tree.claims[first] !== 0) return Verdict.AGREES;
    const isFree = old.isContiguous ? !this.#isMarked(first) : !this.#now.isAllocated(first);
    return isFree ? Verdict.AGREES : Verdict.BLURRED;
  }

  /** Whether the entry that a directory had leads to it as well as its new one. */
  #isStillAt({ directory, ino, place }: KnownFile): boolean {
    const contents = this.contents.get(directory) ?? this.#tree.directories.get(directory);
    return contents?.files.get(place)?.ino === ino;
  }

  #isDirectory(ino: number): boolean {
    try {
      return this.#layout.directoryCluster(ino, this.#now.blocks) !== 0;
    } catch (error) {
      if (error instanceof IoError) return false;
      throw error;
    }
  }
}

function nameOf({ directory, name }: KnownFile): string {
  return `${directory} ${name}`;
}

function isAsWrong(
  old: KnownFile | undefined,
  now: KnownFile,
  oldList: ClusterList,
  nowList: ClusterList,
): boolean {
  return old?.raw === now.raw && oldList.isBroken && oldList.clusters.length <= nowList.clusters.length;
}
