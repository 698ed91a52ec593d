/** What passes between the main thread, which follows the guests, and the thread that serves users. */
import type { ChangedName } from "../cloud/policy/volume-access.js";
import type { InodeIndexParts } from "../inference/inode-index.js";
import type { Commit } from "../versions/commit.js";

/** To the serving thread: what became of a volume (by `volumeKey`). */
export type Update =
  | { readonly kind: "commit"; readonly volume: string; readonly commit: Commit }
  | { readonly kind: "settled"; readonly volume: string; readonly sequence: number }
  /** These inodes may have been other files before, nobody knows which. */
  | { readonly kind: "unsure"; readonly volume: string; readonly inodes: readonly number[] }
  /** The kernel no longer has the names by which it knew these inodes. */
  | { readonly kind: "unnamed"; readonly volume: string; readonly inodes: readonly number[] }
  /** Names that the last commit has changed, of a guest of which something is hidden. */
  | { readonly kind: "named"; readonly volume: string; readonly names: readonly ChangedName[] }
  /** All names of such a volume are being looked for; they are found. */
  | { readonly kind: "crawling"; readonly volume: string }
  | { readonly kind: "crawled"; readonly volume: string; readonly parts: InodeIndexParts }
  /** It was at rest: what was read of it may have been written over. */
  | { readonly kind: "reread"; readonly volume: string }
  | { readonly kind: "reopen"; readonly volume: string };

/** From the serving thread, once a volume has been opened or is read afresh: the inodes that the kernel was told of. */
export interface Told {
  readonly kind: "told";
  readonly volume: string;
  /** In pairs: the two halves of a node id. */
  readonly nodes: Float64Array;
}

/** Names a volume of a guest. */
export function volumeKey(guest: string, volume: string): string {
  return `${guest}/${volume}`;
}

/** What `volumeKey` was made of: no guest's name has a slash in it, and no volume's. */
export function partsOfKey(key: string): { readonly guest: string; readonly volume: string } {
  const slash = key.indexOf("/");
  return { guest: key.slice(0, slash), volume: key.slice(slash + 1) };
}
