/** `slashcloud stat`: what is known of a file. */
import { FileType, isType } from "../daemon/walk.js";
import { find, parseLocation } from "./location.js";
import { modeText, timeText, typeName } from "./mode.js";
import { printable, write } from "./output.js";
import { fileRecord } from "./record.js";

/** Prints the file at `IMAGE:PATH`; a link itself, not where it leads. */
export function stat(argument: string, options: { readonly json?: boolean }): number {
  const location = parseLocation(argument);
  const { tree, entry } = find(location, false);
  const { attributes: a, high, low } = entry;
  const attributes: Record<string, string> = {};
  for (const name of tree.attributeNames(high, low)) {
    attributes[name] = tree.attribute(high, low, name)?.toString("base64") ?? "";
  }
  if (options.json) {
    write(`${JSON.stringify({ ...fileRecord(tree, entry, location.path), attributes }, undefined, 2)}\n`);
    return 0;
  }
  const isDevice = isType(entry, FileType.CHARACTER) || isType(entry, FileType.BLOCK);
  const target = isType(entry, FileType.LINK) ? ` -> ${printable(tree.readlink(high, low)).toString()}` : "";
  const lines = [
    `  File: ${printable(location.path).toString()}${target}`,
    `  Size: ${a.size}\tBlocks: ${a.blocks}\tIO Block: ${a.blksize}\t${typeName(a.mode)}`,
    ` Inode: ${a.ino}\tLinks: ${a.nlink}${isDevice ? `\tDevice type: ${a.major},${a.minor}` : ""}`,
    `Access: (${(a.mode & 0o7777).toString(8).padStart(4, "0")}/${modeText(a.mode)})\tUid: ${a.uid}\tGid: ${a.gid}`,
    `Access: ${timeText(a.atime, a.atimeNsec)}`,
    `Modify: ${timeText(a.mtime, a.mtimeNsec)}`,
    `Change: ${timeText(a.ctime, a.ctimeNsec)}`,
    ` Birth: ${a.btime === 0 && a.btimeNsec === 0 ? "-" : timeText(a.btime, a.btimeNsec)}`,
    ...Object.entries(attributes).map(([name, value]) => ` Xattr: ${name}=0s${value}`),
  ];
  write(`${lines.join("\n")}\n`);
  return 0;
}
