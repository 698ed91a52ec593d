/** The names in a directory of an image. */
import { FileType, isType, newEntry, type TreeVisitor } from "../../daemon/walk.js";
import { find, type Location } from "../location.js";

/** Names that can be typed, directories with a slash at their end. Throws what `find` does, and for what is no directory. */
export function entriesOf(location: Location): string[] {
  const { tree, entry: directory } = find(location, true);
  const names: string[] = [];
  const entry = newEntry();
  let position = 0;
  let taken = 0;
  const visitor: TreeVisitor = {
    entry: (buffer, offset, length, inoHigh, ino, _type, next) => {
      position = next;
      taken++;
      const name = buffer.toString("utf8", offset, offset + length);
      if (name === "." || name === ".." || /[\p{Cc}\ufffd]/u.test(name)) return true;
      tree.entry(inoHigh, ino, entry);
      names.push(isType(entry, FileType.DIRECTORY) ? `${name}/` : name);
      return true;
    },
  };
  do {
    taken = 0;
    tree.list(directory.high, directory.low, position, visitor);
  } while (taken > 0);
  return names;
}
