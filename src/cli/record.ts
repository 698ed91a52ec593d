/** A file as JSON: what `--json` prints of it. */
import { type Entry, FileType, isType, type Tree } from "../daemon/walk.js";
import { timeText, typeName } from "./mode.js";

/** A name as JSON can hold it; `name_hex` beside it where it is not UTF-8. */
export function nameRecord(key: string, name: Buffer): Record<string, string> {
  const text = name.toString("utf8");
  return Buffer.from(text).equals(name)
    ? { [key]: text }
    : { [key]: text, [`${key}_hex`]: name.toString("hex") };
}

/** Everything that stat tells, and a link's target. */
export function fileRecord(tree: Tree, entry: Entry, name: Buffer): Record<string, unknown> {
  const { attributes: a } = entry;
  const isDevice = isType(entry, FileType.CHARACTER) || isType(entry, FileType.BLOCK);
  return {
    ...nameRecord("name", name),
    type: typeName(a.mode),
    mode: (a.mode & 0o7777).toString(8).padStart(4, "0"),
    inode: a.ino,
    links: a.nlink,
    uid: a.uid,
    gid: a.gid,
    size: a.size,
    blocks: a.blocks,
    ...(isDevice ? { device: `${a.major}:${a.minor}` } : {}),
    modified: timeText(a.mtime, a.mtimeNsec),
    changed: timeText(a.ctime, a.ctimeNsec),
    accessed: timeText(a.atime, a.atimeNsec),
    ...(a.btime === 0 && a.btimeNsec === 0 ? {} : { born: timeText(a.btime, a.btimeNsec) }),
    ...(isType(entry, FileType.LINK) ? nameRecord("target", tree.readlink(entry.high, entry.low)) : {}),
  };
}
