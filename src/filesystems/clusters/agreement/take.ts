/** Moving the tree on to the next version. */

import type { Candidate, Touched } from "./candidate.js";
import type { KnownFile } from "./file.js";
import type { KnownTree } from "./tree.js";

/** Takes files; returns the sectors of directories that are no longer there, and those that have come. */
export function take(
  tree: KnownTree,
  candidate: Candidate,
  taken: readonly Touched[],
): { freed: number[]; come: number[] } {
  const freed = new Set<number>();
  const come = new Set<number>();
  const changed = new Map<number, Map<number, KnownFile>>();
  const filesOf = (directory: number): Map<number, KnownFile> => {
    let files = changed.get(directory);
    if (files === undefined) {
      files = new Map(tree.directories.get(directory)?.files);
      changed.set(directory, files);
    }
    return files;
  };
  const root = candidate.rootClusters;
  tree.disown(tree.layout.rootInode, root.old);
  for (const { ino, old, oldList } of taken) {
    tree.disown(ino, oldList.clusters);
    if (old === undefined) continue;
    const files = filesOf(old.directory);
    if (files.get(old.place)?.ino === ino) files.delete(old.place);
    tree.files.delete(ino);
  }
  tree.own(tree.layout.rootInode, root.now);
  const isTaken = new Set<number>([tree.layout.rootInode]);
  for (const { ino, now, nowList } of taken) {
    if (now === undefined) continue;
    tree.own(ino, nowList.clusters);
    tree.files.set(ino, now);
    filesOf(now.directory).set(now.place, now);
    if (now.isDirectory && !now.isBad) {
      filesOf(ino);
      isTaken.add(ino);
    }
  }
  for (const { ino, now } of taken) {
    if (now?.isDirectory && !now.isBad) continue;
    for (const sector of tree.directories.get(ino)?.sectors ?? []) freed.add(sector);
    tree.setDirectory(ino, undefined);
    changed.delete(ino);
  }
  for (const [ino, files] of changed) {
    const before = tree.directories.get(ino);
    const now = isTaken.has(ino) ? candidate.contents.get(ino) : undefined;
    const sectors = (now ?? before)?.sectors ?? [];
    if (now !== undefined) {
      for (const sector of before?.sectors ?? []) freed.add(sector);
      for (const sector of sectors) come.add(sector);
    }
    tree.setDirectory(ino, { files, sectors, isBad: (now ?? before)?.isBad ?? false });
  }
  for (const sector of tree.directoryOf.keys()) freed.delete(sector);
  return { freed: [...freed], come: [...come] };
}
