/** Keys and values of a registry hive. */
import { Cells, damaged, type HiveFile, NOWHERE } from "./cells.js";
import { type Value, valueAt } from "./value.js";

const KEY_BYTES = 76;
/** A name has at most 255 characters. */
const MOST_KEY_BYTES = KEY_BYTES + 2 * 255;
/** The name is in one byte a character. */
const COMPRESSED_NAME = 0x20;
/** Subkeys of one key that are looked at. */
const MOST_SUBKEYS = 100_000;
/** Values of one key that are looked at. */
const MOST_VALUES = 10_000;
/** The bytes that a list of the longest kind has for each subkey. */
const LONGEST_ENTRY = 8;

/** A key, as far as it was read. */
export interface Key {
  readonly name: string;
  readonly subkeys: number;
  readonly subkeyList: number;
  readonly values: number;
  readonly valueList: number;
}

export class Hive {
  readonly #cells: Cells;
  readonly root: Key;

  /** Throws an Error with a line if this is no hive. */
  constructor(file: HiveFile) {
    this.#cells = new Cells(file);
    this.root = this.#key(this.#cells.root);
  }

  /** Whether the hive's log has changes that the hive itself does not have yet. */
  get isBehind(): boolean {
    return this.#cells.isBehind;
  }

  /** The key at a path of names, in whatever case; undefined if it is not there. */
  key(path: readonly string[], from: Key = this.root): Key | undefined {
    let key: Key | undefined = from;
    for (const name of path) {
      key = this.#subkey(key, name);
      if (key === undefined) return undefined;
    }
    return key;
  }

  /** All subkeys, in order. Throws an Error with a line where one is damaged. */
  *subkeys(key: Key): Generator<Key> {
    for (const offset of this.#subkeyOffsets(key)) yield this.#key(offset);
  }

  /**
   * Calls `use` for each subkey, and `trouble` with each Error that either that or reading the subkey throws: one that is
   * damaged leaves the others.
   */
  forSubkeys(key: Key, use: (subkey: Key) => void, trouble: (error: Error) => void): void {
    for (const offset of this.#subkeyOffsets(key)) {
      try {
        use(this.#key(offset));
      } catch (error) {
        trouble(error as Error);
      }
    }
  }

  /** A value by its name, in whatever case ("" is the key's own value); undefined if it is not there. */
  value(key: Key, name: string): Value | undefined {
    const wanted = name.toUpperCase();
    for (const value of this.values(key)) if (value.name.toUpperCase() === wanted) return value;
    return undefined;
  }

  /** All values, in the order in which they were made. */
  *values(key: Key): Generator<Value> {
    if (key.values === 0 || key.valueList === NOWHERE) return;
    const count = Math.min(key.values, MOST_VALUES);
    const list = this.#cells.cell(key.valueList, 4 * count, 4 * count);
    for (let at = 0; at < 4 * count; at += 4) yield valueAt(this.#cells, list.readUInt32LE(at));
  }

  #subkey(key: Key, name: string): Key | undefined {
    const wanted = name.toUpperCase();
    for (const subkey of this.subkeys(key)) if (subkey.name.toUpperCase() === wanted) return subkey;
    return undefined;
  }

  #key(offset: number): Key {
    const cell = this.#cells.typed(offset, "nk", KEY_BYTES, MOST_KEY_BYTES);
    const nameBytes = cell.readUInt16LE(72);
    if (KEY_BYTES + nameBytes > cell.length) throw damaged(offset);
    const isCompressed = (cell.readUInt16LE(2) & COMPRESSED_NAME) !== 0;
    return {
      name: cell.toString(isCompressed ? "latin1" : "utf16le", KEY_BYTES, KEY_BYTES + nameBytes),
      subkeys: cell.readUInt32LE(20),
      subkeyList: cell.readUInt32LE(28),
      values: cell.readUInt32LE(36),
      valueList: cell.readUInt32LE(40),
    };
  }

  /** Where the subkeys are: in one list, or in several that a list of lists names. */
  *#subkeyOffsets(key: Key): Generator<number> {
    if (key.subkeys === 0 || key.subkeyList === NOWHERE) return;
    let left = Math.min(key.subkeys, MOST_SUBKEYS);
    const top = this.#list(key.subkeyList);
    if (top.toString("latin1", 0, 2) !== "ri") {
      yield* offsetsIn(top, key.subkeyList, left);
      return;
    }
    const lists = top.readUInt16LE(2);
    for (let at = 4; at < 4 + 4 * lists && left > 0; at += 4) {
      if (at + 4 > top.length) throw damaged(key.subkeyList);
      const offset = top.readUInt32LE(at);
      for (const subkey of offsetsIn(this.#list(offset), offset, left)) {
        left--;
        yield subkey;
      }
    }
  }

  #list(offset: number): Buffer {
    return this.#cells.cell(offset, 4, 4 + LONGEST_ENTRY * 0xffff);
  }
}

/** The subkeys that a list names: "li" has their offsets, "lf" and "lh" a hash after each. */
function* offsetsIn(list: Buffer, offset: number, most: number): Generator<number> {
  const type = list.toString("latin1", 0, 2);
  const entry = type === "li" ? 4 : type === "lf" || type === "lh" ? LONGEST_ENTRY : 0;
  const count = Math.min(list.readUInt16LE(2), most);
  if (entry === 0 || 4 + entry * count > list.length) throw damaged(offset);
  for (let index = 0; index < count; index++) yield list.readUInt32LE(4 + entry * index);
}
