/** From a crawl's file to one volume's inodes and names. Whatever the bytes are: it ends with them, or with an error. */
import { type Document, deserialize } from "bson";
import type { InodeState } from "../../filesystems/changes.js";
import {
  Element,
  FORMAT_NAME,
  FORMAT_VERSION,
  INODE,
  type Layout,
  LONGEST_DOCUMENT,
  NAME,
} from "./layout.js";

/** A volume that a file has a crawl of. */
export interface CrawledVolume {
  /** Its number in the file. */
  readonly volume: number;
  /** As the disk had it: `sda1`. */
  readonly name: string;
  readonly uuid: string;
  readonly rootInode: number;
  /** The transaction that the crawl can be gone on from; undefined: none. */
  readonly transaction: number | undefined;
  /** See CrawlStart; in hexadecimal. */
  readonly rest: string | undefined;
}

/** What a file begins with. */
export interface CrawlFileHead {
  /** The image that was crawled: an absolute path. */
  readonly image: string;
  readonly volumes: readonly CrawledVolume[];
}

/** Takes what a file has of a volume. */
export interface CrawlFileSink {
  begin(rootInode: number): void;
  inode(ino: number, state: InodeState): void;
  name(directory: number, name: Buffer, start: number, length: number, ino: number, isAgain: boolean): void;
}

const NO_BYTES: Buffer = Buffer.alloc(0);
const SMALLEST_DOCUMENT = 5;
const OPTIONS = { promoteValues: true, promoteLongs: true, promoteBuffers: true };
/** Files have no more volumes than a disk has partitions. */
const MOST_VOLUMES = 1024;

/** What is wrong with a file, as a part of a sentence. */
export class CrawlFileError extends Error {
  override name = "CrawlFileError";
}

/** Splits bytes that come piece by piece into documents. */
class Documents {
  /** Whether what comes is no longer looked at. */
  isDone = false;
  #rest = NO_BYTES;
  readonly #take: (bytes: Buffer, start: number, length: number) => void;

  constructor(take: (bytes: Buffer, start: number, length: number) => void) {
    this.#take = take;
  }

  /** Whether it ends with a document's end. */
  get isWhole(): boolean {
    return this.#rest.length === 0;
  }

  feed(piece: Buffer): void {
    const bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    let at = 0;
    while (!this.isDone && bytes.length - at >= 4) {
      const length = bytes.readInt32LE(at);
      if (length < SMALLEST_DOCUMENT || length > LONGEST_DOCUMENT)
        throw new CrawlFileError(`a document of ${length} bytes`);
      if (bytes.length - at < length) break;
      this.#take(bytes, at, length);
      at += length;
    }
    this.#rest = at === bytes.length ? NO_BYTES : Buffer.from(bytes.subarray(at));
  }
}

/** Reads what a file begins with, of as many bytes as there are of it. Throws CrawlFileError. */
export function readHead(bytes: Buffer): CrawlFileHead {
  let image: string | undefined;
  const volumes: CrawledVolume[] = [];
  const documents = new Documents((all, start, length) => {
    const document = parse(all, start, length);
    if (image === undefined) {
      if (document.type !== "header" || document.format !== FORMAT_NAME)
        throw new CrawlFileError("it does not begin as one");
      if (document.version !== FORMAT_VERSION)
        throw new CrawlFileError(`it is of another version than ${FORMAT_VERSION}`);
      image = string(document.image);
    } else if (document.type === "volume") {
      const volume = crawledVolume(document);
      if (volume !== undefined) volumes.push(volume);
      if (volumes.length > MOST_VOLUMES) throw new CrawlFileError(`more than ${MOST_VOLUMES} volumes`);
    } else if (document.type === "inode" || document.type === "name" || document.type === "end")
      documents.isDone = true;
  });
  documents.feed(bytes);
  if (image === undefined) throw new CrawlFileError("it does not begin as one");
  return { image, volumes };
}

function crawledVolume(document: Document): CrawledVolume | undefined {
  if (document.rootInode === undefined) return undefined;
  return {
    volume: whole(document.volume, 0, 2 ** 31),
    name: string(document.name),
    uuid: uuid(document.uuid),
    rootInode: whole(document.rootInode, 1, 2 ** 32),
    transaction: document.transaction == null ? undefined : whole(document.transaction, 0, 2 ** 32),
    rest: document.rest instanceof Uint8Array ? Buffer.from(document.rest).toString("hex") : undefined,
  };
}

/** Reads one volume of a file. */
export class CrawlFileReader {
  readonly #volume: number;
  readonly #sink: CrawlFileSink;
  readonly #documents: Documents;
  #count = 0;
  #isEnded = false;

  /** `sink` is told of what there is of the volume that has this number. */
  constructor({ volume, rootInode }: CrawledVolume, sink: CrawlFileSink) {
    this.#volume = volume;
    this.#sink = sink;
    this.#documents = new Documents((bytes, start, length) => this.#take(bytes, start, length));
    sink.begin(rootInode);
  }

  /** Takes the next bytes of the file. Throws CrawlFileError, and what the sink throws. */
  feed(piece: Buffer): void {
    this.#documents.feed(piece);
  }

  /** To be called at the file's end. Throws CrawlFileError if it is not all there. */
  end(): void {
    if (!this.#isEnded || !this.#documents.isWhole) throw new CrawlFileError("it ends in its middle");
  }

  #take(bytes: Buffer, start: number, length: number): void {
    if (this.#isEnded) throw new CrawlFileError("something comes after its end");
    this.#count++;
    if (bytes[start + length - 1] !== 0) throw new CrawlFileError("a document without an end");
    if (length > INODE.end && hasLayout(bytes, start, INODE)) this.#inode(bytes, start);
    else if (!this.#name(bytes, start, length)) this.#other(parse(bytes, start, length));
  }

  #inode(bytes: Buffer, start: number): void {
    const { at } = INODE;
    if (bytes.readInt32LE(start + at.volume) !== this.#volume) return;
    this.#tell(int64(bytes, start + at.ino), {
      generation: int64(bytes, start + at.generation),
      mode: bytes.readInt32LE(start + at.mode),
      nlink: bytes.readInt32LE(start + at.nlink),
      uid: int64(bytes, start + at.uid),
      gid: int64(bytes, start + at.gid),
      size: int64(bytes, start + at.size),
      flags: int64(bytes, start + at.flags) - int64(bytes, start + at.layoutFlags),
      mtime: int64(bytes, start + at.mtime),
      mtimeNsec: bytes.readInt32LE(start + at.mtimeNsec),
      ctime: int64(bytes, start + at.ctime),
      ctimeNsec: bytes.readInt32LE(start + at.ctimeNsec),
      btime: int64(bytes, start + at.btime),
      btimeNsec: bytes.readInt32LE(start + at.btimeNsec),
      major: bytes.readInt32LE(start + at.major),
      minor: bytes.readInt32LE(start + at.minor),
      ...(bytes[start + at.hasAttributes] === 1 ? { hasAttributes: true } : {}),
    });
  }

  /** False: it is laid out otherwise. */
  #name(bytes: Buffer, start: number, length: number): boolean {
    // A name's element: its type, `name` and its end, the length, the subtype.
    const field = start + NAME.end;
    const head = 1 + 5 + 4 + 1;
    if (length < NAME.end + head + 1 || !hasLayout(bytes, start, NAME)) return false;
    if (bytes[field] !== Element.BINARY || bytes.toString("latin1", field + 1, field + 6) !== "name\0")
      return false;
    const named = bytes.readInt32LE(field + 6);
    if (NAME.end + head + named + 1 !== length) return false;
    if (bytes.readInt32LE(start + NAME.at.volume) !== this.#volume) return true;
    const number = (at: number) =>
      bytes.readUInt32LE(start + at) + bytes.readInt32LE(start + at + 4) * 2 ** 32;
    this.#tellName(number(NAME.at.directory), bytes, field + head, named, number(NAME.at.ino), false);
    return true;
  }

  #other(document: Document): void {
    if (this.#count === 1 && document.type !== "header") throw new CrawlFileError("it does not begin as one");
    if (document.type === "end") {
      if (document.documents !== this.#count - 1)
        throw new CrawlFileError("some of its documents are missing");
      this.#isEnded = true;
    }
    if (document.volume !== this.#volume) return;
    if (document.type === "inode") this.#tell(whole(document.ino, 1, 2 ** 32), stateOf(document));
    if (document.type !== "name") return;
    if (!(document.name instanceof Uint8Array)) throw new CrawlFileError("a name that is no bytes");
    const name = Buffer.from(document.name);
    const directory = whole(document.directory, 1, 2 ** 32);
    this.#tellName(directory, name, 0, name.length, whole(document.ino, 1, 2 ** 32), document.again === true);
  }

  #tell(ino: number, state: InodeState): void {
    if (!isWithin(ino, 1, 2 ** 32) || !makesSense(state))
      throw new CrawlFileError(`inode ${ino} makes no sense`);
    this.#sink.inode(ino, state);
  }

  #tellName(directory: number, name: Buffer, at: number, length: number, ino: number, again: boolean): void {
    if (!isWithin(ino, 1, 2 ** 32) || !isWithin(directory, 1, 2 ** 32) || !isWithin(length, 1, 65536))
      throw new CrawlFileError(`a name of inode ${ino} makes no sense`);
    this.#sink.name(directory, name, at, length, ino, again);
  }
}

/** A number beyond 53 bits comes out inexact, which what it is for refuses. */
function int64(bytes: Buffer, at: number): number {
  return bytes.readInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at);
}

function hasLayout(bytes: Buffer, start: number, { fixed, bytes: like, end }: Layout<string>): boolean {
  if (start + end >= bytes.length) return false;
  for (const at of fixed) if (bytes[start + at] !== like[at]) return false;
  return true;
}

function stateOf(document: Document): InodeState {
  return {
    generation: document.generation,
    mode: document.mode,
    nlink: document.nlink,
    uid: document.uid,
    gid: document.gid,
    size: document.size,
    flags: document.flags - document.layoutFlags,
    mtime: document.mtime,
    mtimeNsec: document.mtimeNsec,
    ctime: document.ctime,
    ctimeNsec: document.ctimeNsec,
    btime: document.btime,
    btimeNsec: document.btimeNsec,
    major: document.major,
    minor: document.minor,
    ...(document.hasAttributes === true ? { hasAttributes: true } : {}),
  };
}

function makesSense(state: InodeState): boolean {
  return (
    isWithin(state.generation, 0, 2 ** 32) &&
    isWithin(state.uid, 0, 2 ** 32) &&
    isWithin(state.gid, 0, 2 ** 32) &&
    isWithin(state.flags, 0, 2 ** 32) &&
    isWithin(state.mode, 0, 2 ** 16) &&
    isWithin(state.nlink, 0, 2 ** 31) &&
    isWithin(state.major, 0, 2 ** 31) &&
    isWithin(state.minor, 0, 2 ** 31) &&
    isWithin(state.size, 0, 2 ** 53) &&
    isWithin(state.mtime, -(2 ** 53), 2 ** 53) &&
    isWithin(state.ctime, -(2 ** 53), 2 ** 53) &&
    isWithin(state.mtimeNsec, 0, 2 ** 30) &&
    isWithin(state.ctimeNsec, 0, 2 ** 30)
  );
}

function isWithin(value: unknown, least: number, below: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) < below;
}

function whole(value: unknown, least: number, below: number): number {
  if (!isWithin(value, least, below)) throw new CrawlFileError("a number in it makes no sense");
  return value as number;
}

function string(value: unknown): string {
  if (typeof value !== "string") throw new CrawlFileError("a text in it makes no sense");
  return value;
}

/** Text that a file may have had a hand in, for people. */
export function inOneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, " ").slice(0, 200);
}

/** Told in lines of the log: nothing else is to get there by it. */
function uuid(value: unknown): string {
  const text = string(value);
  if (!/^[0-9a-f-]{0,64}$/i.test(text)) throw new CrawlFileError("a UUID in it makes no sense");
  return text;
}

function parse(bytes: Buffer, start: number, length: number): Document {
  try {
    return deserialize(bytes.subarray(start, start + length), OPTIONS);
  } catch (error) {
    throw new CrawlFileError(`a document makes no sense: ${inOneLine((error as Error).message)}`);
  }
}
