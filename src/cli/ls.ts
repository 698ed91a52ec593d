/** `slashcloud ls`: a directory's entries. */
import { type Entry, FileType, isType, newEntry, type Tree, type TreeVisitor } from "../daemon/walk.js";
import { find, parseLocation } from "./location.js";
import { modeText, timeText } from "./mode.js";
import { complain, printable, write } from "./output.js";
import { fileRecord, nameRecord } from "./record.js";

export interface LsOptions {
  readonly long?: boolean;
  readonly recursive?: boolean;
  readonly json?: boolean;
}

const NEWLINE = Buffer.from("\n");

/** Prints what is at `IMAGE[:PATH]`. Returns the exit code: 1 if something could not be read. */
export function ls(argument: string, options: LsOptions): number {
  const location = parseLocation(argument);
  const { tree, entry } = find(location, true);
  const lister = new Lister(tree, options);
  if (isType(entry, FileType.DIRECTORY)) lister.directory(entry, location.path);
  else lister.line(find(location, false).entry, location.path);
  return lister.end();
}

class Lister {
  readonly #tree: Tree;
  readonly #options: LsOptions;
  #printed = 0;
  #failed = false;

  constructor(tree: Tree, options: LsOptions) {
    this.#tree = tree;
    this.#options = options;
  }

  /** Lists a directory and, if asked to, all below it. */
  directory(top: Entry, path: Buffer): void {
    const waiting = [{ high: top.high, low: top.low, path }];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const entries = this.#entries(next, next.path);
      if (this.#options.recursive && !this.#options.json) {
        write(
          Buffer.concat([
            Buffer.from(this.#printed++ > 0 ? "\n" : ""),
            printable(next.path),
            Buffer.from(":\n"),
          ]),
        );
      }
      const below = [];
      for (const { name, entry } of entries) {
        const full = joined(next.path, name);
        this.line(entry, this.#options.recursive && this.#options.json ? full : name);
        if (this.#options.recursive && isType(entry, FileType.DIRECTORY)) {
          below.push({ high: entry.high, low: entry.low, path: full });
        }
      }
      waiting.push(...below.reverse());
    }
  }

  /** Prints one file. */
  line(entry: Entry, name: Buffer): void {
    const { attributes: a } = entry;
    try {
      if (this.#options.json) {
        const record =
          a.mode === 0 ? { ...nameRecord("name", name), error: "EIO" } : fileRecord(this.#tree, entry, name);
        write(`${this.#printed++ === 0 ? "[" : ","}\n  ${JSON.stringify(record)}`);
        return;
      }
      if (!this.#options.long) {
        write(Buffer.concat([printable(name), NEWLINE]));
        return;
      }
      const isDevice = isType(entry, FileType.CHARACTER) || isType(entry, FileType.BLOCK);
      const size = isDevice ? `${a.major}, ${a.minor}` : String(a.size);
      const time = timeText(a.mtime, a.mtimeNsec).slice(0, 16);
      const numbers = [
        String(a.nlink).padStart(3),
        String(a.uid).padStart(5),
        String(a.gid).padStart(5),
      ].join(" ");
      const front = `${modeText(a.mode)} ${numbers} ${size.padStart(11)} ${time} `;
      const target = isType(entry, FileType.LINK) ? this.#tree.readlink(entry.high, entry.low) : undefined;
      const tail = target === undefined ? [] : [Buffer.from(" -> "), printable(target)];
      write(Buffer.concat([Buffer.from(front), printable(name), ...tail, NEWLINE]));
    } catch (error) {
      this.#fail(name, error);
    }
  }

  /** Ends the output; returns the exit code. */
  end(): number {
    if (this.#options.json) write(this.#printed === 0 ? "[]\n" : "\n]\n");
    return this.#failed ? 1 : 0;
  }

  #entries(directory: { high: number; low: number }, path: Buffer): { name: Buffer; entry: Entry }[] {
    const tree = this.#tree;
    const entries: { name: Buffer; entry: Entry }[] = [];
    let position = 0;
    let taken = 0;
    const visitor: TreeVisitor = {
      entry: (buffer, offset, length, inoHigh, ino, _type, next) => {
        position = next;
        taken++;
        const name = Buffer.from(buffer.subarray(offset, offset + length));
        const isDots = name.equals(DOT) || name.equals(DOT_DOT);
        if (isDots) return true;
        const entry = newEntry();
        try {
          tree.entry(inoHigh, ino, entry);
        } catch (error) {
          this.#fail(joined(path, name), error);
        }
        entries.push({ name, entry });
        return true;
      },
    };
    try {
      do {
        taken = 0;
        tree.list(directory.high, directory.low, position, visitor);
      } while (taken > 0);
    } catch (error) {
      this.#fail(path, error);
    }
    return entries.sort((a, b) => a.name.compare(b.name));
  }

  #fail(name: Buffer, error: unknown): void {
    this.#failed = true;
    complain(`${name.toString()}: ${(error as Error).message}`);
  }
}

const DOT = Buffer.from(".");
const DOT_DOT = Buffer.from("..");

function joined(directory: Buffer, name: Buffer): Buffer {
  const slash = directory[directory.length - 1] === 0x2f ? "" : "/";
  return Buffer.concat([directory, Buffer.from(slash), name]);
}
