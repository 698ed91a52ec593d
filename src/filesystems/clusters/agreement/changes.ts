/** What the files that have been taken are told as. */
import type { Changes, FileMove, InodeChange, NameChange } from "../../changes.js";
import { rootState } from "../inode-state.js";
import type { Touched } from "./candidate.js";
import type { KnownFile } from "./file.js";
import type { KnownTree } from "./tree.js";

/** `tree`: as it was before. */
export function changesOf(tree: KnownTree, taken: readonly Touched[]): Changes {
  const names = new Map<string, NameChange>();
  const inodes = new Map<number, InodeChange>();
  const byNumber = new Map(taken.map((one) => [one.ino, one]));
  const generationOf = (directory: number) =>
    (tree.files.get(directory) ?? byNumber.get(directory)?.now)?.state.generation ?? 0;
  const change = (directory: number, name: string, ino: number, now: number) => {
    const key = `${directory} ${name}`;
    const known = names.get(key);
    names.set(key, {
      directory,
      generation: generationOf(directory),
      name: Buffer.from(name, "latin1"),
      ino: known?.ino || ino,
      now: known?.now || now,
    });
  };
  const directories = new Set<number>();
  const moves = movesIn(taken);
  const moved = new Set(moves.flatMap(({ from, to }) => [from, to]));
  for (const { ino, old, now } of taken) {
    inodes.set(ino, { ino, old: old?.state, now: now?.state });
    const isSameName =
      old !== undefined && now !== undefined && old.directory === now.directory && old.name === now.name;
    // A slot that another file has taken keeps its number: by its generation it is another one.
    if (isSameName && old.state.generation === now.state.generation && !moved.has(ino)) continue;
    if (old !== undefined) change(old.directory, old.name, ino, 0);
    if (now !== undefined) change(now.directory, now.name, 0, ino);
    for (const file of [old, now]) if (file !== undefined) directories.add(file.directory);
  }
  // Of a directory it shows how many are in it.
  for (const ino of directories) {
    if (inodes.has(ino)) continue;
    const { layout } = tree;
    const state = ino === layout.rootInode ? rootState(ino, layout.clusterSize) : tree.files.get(ino)?.state;
    if (state !== undefined) inodes.set(ino, { ino, old: state, now: state });
  }
  return {
    inodes: [...inodes.values()],
    names: [...names.values()],
    ...(moves.length > 0 && { moves }),
    unsureInodes: [],
    unsureDirectories: [],
  };
}

/**
 * Files that went from one slot and came in another: those that begin with the same cluster and have the same size and time
 * of creation. Empty ones have nothing to know them by.
 */
function movesIn(taken: readonly Touched[]): FileMove[] {
  const gone = new Map<string, number>();
  for (const { ino, old, now } of taken)
    if (old !== undefined && isFile(old) && old.firstCluster !== now?.firstCluster)
      gone.set(markOf(old), ino);
  if (gone.size === 0) return [];
  const moves: FileMove[] = [];
  for (const { ino, old, now } of taken) {
    if (now === undefined || !isFile(now) || old?.firstCluster === now.firstCluster) continue;
    const mark = markOf(now);
    const from = gone.get(mark);
    if (from === undefined) continue;
    moves.push({ from, to: ino });
    gone.delete(mark);
  }
  return moves;
}

function isFile({ isDirectory, firstCluster, size }: KnownFile): boolean {
  return !isDirectory && firstCluster !== 0 && size > 0;
}

function markOf({ firstCluster, size, state }: KnownFile): string {
  return `${firstCluster} ${size} ${state.generation}`;
}
