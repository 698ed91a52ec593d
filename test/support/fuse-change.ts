import type { MemoryTree } from "./fuse-tree.js";

/** A change of the sample tree while it is served. Paths and names are Latin-1. */
export type Change =
  | { kind: "content"; path: string; text: string; keepTimes?: boolean }
  | { kind: "create"; directory: string; name: string; text: string }
  | { kind: "remove"; directory: string; name: string };

/** Makes the change in a tree. */
export function applyChange(tree: MemoryTree, change: Change): void {
  if (change.kind === "content") {
    const node = tree.at(change.path);
    const bytes = Buffer.from(change.text);
    node.size = bytes.length;
    node.extents = [{ position: 0, length: bytes.length, bytes }];
    if (!change.keepTimes) node.mtime = [node.mtime[0] + 1, 0];
    return;
  }
  const directory = tree.at(change.directory);
  directory.mtime = [directory.mtime[0] + 1, 0];
  if (change.kind === "create") tree.file(directory, change.name, change.text);
  else tree.remove(directory, change.name);
}
