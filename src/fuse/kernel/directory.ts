import type { Entry, Tree, TreeVisitor } from "../../cloud/tree.js";
import type { Faults } from "../faults.js";
import { isPossibleName, shownName } from "../names.js";
import { putEntry, putNoEntry } from "./encode.js";
import { Dirent, ReadIn, ReplyHeader, Size } from "./protocol.js";
import { MAX_PAYLOAD, type Reply, type Result } from "./reply.js";
import type { Request } from "./request.js";
import type { ToldNodes } from "./told-nodes.js";
import { put64 } from "./words.js";

const DOT = 0x2e;

/** Answers READDIR and READDIRPLUS: writes each entry that the tree shows straight into the reply. */
export class DirectoryWriter implements TreeVisitor {
  readonly #tree: Tree;
  readonly #reply: Reply;
  readonly #entry: Entry;
  readonly #faults: Faults;
  readonly #told: ToldNodes;
  #plus = false;
  /** Bytes of the payload that are written, and that may be. */
  #used = 0;
  #limit = 0;

  /** `entry` is used for each directory entry's attributes; `told` is given the nodes that are written. */
  constructor(tree: Tree, reply: Reply, entry: Entry, faults: Faults, told: ToldNodes) {
    this.#tree = tree;
    this.#reply = reply;
    this.#entry = entry;
    this.#faults = faults;
    this.#told = told;
  }

  /** Answers the request; `plus` for READDIRPLUS. */
  answer(request: Request, plus: boolean): Result {
    this.#plus = plus;
    this.#used = 0;
    this.#limit = Math.min(request.word(ReadIn.SIZE), MAX_PAYLOAD);
    try {
      this.#tree.list(request.high, request.low, request.long(ReadIn.OFFSET), this);
    } catch (error) {
      // What lies before the damage is listed; the next request starts at the damage and gets the error.
      if (this.#used === 0) throw error;
    }
    return this.#used;
  }

  entry(
    name: Buffer,
    nameOffset: number,
    nameLength: number,
    inoHigh: number,
    ino: number,
    type: number,
    next: number,
  ): boolean {
    if (!isPossibleName(name, nameOffset, nameLength)) {
      this.#faults.report(`name ${shownName(name, nameOffset, nameLength)} is left out`, "directory");
      return true;
    }
    const start = this.#used;
    const dirent = this.#plus ? start + Size.ENTRY : start;
    const end = dirent + ((Size.DIRENT + nameLength + 7) & ~7);
    if (end > this.#limit) return false;
    const { bytes, words } = this.#reply;
    const at = ReplyHeader.PAYLOAD + dirent / 4;
    if (this.#plus) {
      const known = this.#putEntry(
        ReplyHeader.PAYLOAD + start / 4,
        name,
        nameOffset,
        nameLength,
        inoHigh,
        ino,
      );
      words[at + Dirent.TYPE] = known ? (this.#entry.attributes.mode >> 12) & 0xf : type;
    } else {
      words[at + Dirent.TYPE] = type;
    }
    words[at + Dirent.INO] = ino;
    words[at + Dirent.INO + 1] = inoHigh;
    put64(words, at + Dirent.NEXT, next);
    words[at + Dirent.NAME_LENGTH] = nameLength;
    // The bytes that fill the last eight; the name's own follow. A loop, as Buffer's copy makes an object.
    words.fill(0, ReplyHeader.PAYLOAD + end / 4 - 2, ReplyHeader.PAYLOAD + end / 4);
    const place = Size.REPLY_HEADER + dirent + Size.DIRENT;
    for (let i = 0; i < nameLength; i++) bytes[place + i] = name[nameOffset + i] as number;
    this.#used = end;
    return true;
  }

  /** Writes struct fuse_entry_out at a word; false if the entry is listed without node and attributes. */
  #putEntry(at: number, name: Buffer, offset: number, length: number, inoHigh: number, ino: number): boolean {
    const { words } = this.#reply;
    const dots = name[offset] === DOT && (length === 1 || (length === 2 && name[offset + 1] === DOT));
    if (!dots) {
      try {
        this.#tree.entry(inoHigh, ino, this.#entry);
        this.#told.add(this.#entry);
        putEntry(words, at, this.#entry);
        return true;
      } catch (error) {
        // The name is there all the same; whoever looks it up gets the error.
        this.#faults.errno(error, "READDIRPLUS");
      }
    }
    putNoEntry(words, at);
    return false;
  }
}
