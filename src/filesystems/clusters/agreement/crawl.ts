/** Telling the tree that has been agreed on, for a map of names. */
import type { NameSink } from "../../crawler.js";
import { rootState } from "../inode-state.js";
import type { KnownTree } from "./tree.js";

/** Files that are told at once. */
const AT_ONCE = 1000;

/** See Follower.crawl. */
export function* crawlTree({ files, layout }: KnownTree, sink: NameSink): Generator<void> {
  sink.begin(layout.rootInode);
  sink.inode(layout.rootInode, rootState(layout.rootInode, layout.clusterSize));
  let told = 0;
  // What changes meanwhile comes again, at the end.
  for (const { ino, state, directory, name } of files.values()) {
    sink.inode(ino, state);
    const bytes = Buffer.from(name, "latin1");
    sink.name(directory, bytes, 0, bytes.length, ino, true);
    if (++told % AT_ONCE === 0) yield;
  }
}
