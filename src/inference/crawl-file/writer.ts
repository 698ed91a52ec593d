/** From a crawl of a volume to the documents of its file. */
import { isUtf8 } from "node:buffer";
import type { InodeState } from "../../filesystems/changes.js";
import type { CrawledAttribute, CrawledInode, CrawlSink, ExtentVisitor } from "../../filesystems/crawler.js";
import { Attributes } from "../../filesystems/filesystem.js";
import {
  Element,
  EXTENT,
  EXTENTS,
  type Fields,
  document as fewDocument,
  INODE,
  LONGEST_DOCUMENT,
  LONGEST_VALUE,
  MOST_ATTRIBUTES,
  MOST_EXTENTS,
  NAME,
  UNWRITTEN,
} from "./layout.js";

/** Bytes of memory in which documents are gathered. */
const CHUNK = 2 * LONGEST_DOCUMENT;
/** Documents after which the listener is told how many there are. */
const TELL_EVERY = 16_384;
/** The element's type, `name`, the length, the subtype 0. */
const NAME_HEAD = Buffer.from("\x05name\0\0\0\0\0\0", "latin1");
/** `again: true` */
const AGAIN = Buffer.from("\x08again\0\x01", "latin1");
/** Keys of an array's elements, each with its end. */
const KEYS = Array.from({ length: Math.max(MOST_EXTENTS, MOST_ATTRIBUTES) }, (_, i) =>
  Buffer.from(`${i}\0`, "latin1"),
);

/** What has been written of a volume. */
export interface CrawlCounts {
  inodes: number;
  names: number;
  extents: number;
}

/** Takes documents, one after the other; the memory is its own from then on. */
export type TakeDocuments = (bytes: Uint8Array<ArrayBuffer>) => void;

export class CrawlFileWriter {
  readonly #take: TakeDocuments;
  #chunk = Buffer.alloc(0);
  #at = 0;
  #documents = 0;

  constructor(take: TakeDocuments) {
    this.#take = take;
  }

  /** How many documents there are so far. */
  get documents(): number {
    return this.#documents;
  }

  /** Writes a document of which there are few. */
  few(type: string, fields: Fields): void {
    const bytes = fewDocument(type, fields);
    if (bytes.length > LONGEST_DOCUMENT)
      throw new RangeError(`a document "${type}" of ${bytes.length} bytes`);
    this.#room().set(bytes, this.#at);
    this.#at += bytes.length;
    this.#documents++;
  }

  /** Takes a crawl of the volume that has this number. `tell` is called now and then. */
  sink(volume: number, counts: CrawlCounts, tell: () => void): CrawlSink {
    return new VolumeSink(this, volume, counts, tell);
  }

  /** Hands over what has been gathered. */
  flush(): void {
    const chunk = this.#chunk;
    this.#chunk = Buffer.alloc(0);
    if (this.#at === 0) return;
    const { buffer, byteOffset } = chunk;
    this.#take(new Uint8Array(buffer as ArrayBuffer, byteOffset, this.#at));
    this.#at = 0;
  }

  /** Memory for one more document, which is to begin at `begin()`. */
  #room(): Buffer {
    if (this.#chunk.length - this.#at < LONGEST_DOCUMENT) {
      this.flush();
      this.#chunk = Buffer.allocUnsafeSlow(CHUNK);
    }
    return this.#chunk;
  }

  /** Begins a document: returns where it may lie, from `begun` on. */
  begin(): Buffer {
    return this.#room();
  }

  get begun(): number {
    return this.#at;
  }

  /** Ends the document that was begun: `at` is where its last field ends. */
  end(at: number): void {
    const chunk = this.#chunk;
    chunk[at] = 0;
    chunk.writeInt32LE(at + 1 - this.#at, this.#at);
    this.#at = at + 1;
    this.#documents++;
  }
}

class VolumeSink implements CrawlSink {
  readonly #writer: CrawlFileWriter;
  readonly #volume: number;
  readonly #counts: CrawlCounts;
  readonly #tell: () => void;
  readonly #attributes = new Attributes();
  /** While a document is written: where it goes, and how far it has come. */
  #buffer: Buffer = Buffer.alloc(0);
  #at = 0;
  /** Where the array of extents begins that is being written, and how many are in it. */
  #array = -1;
  #inArray = 0;
  #ino = 0;
  #taken = 0;
  readonly #extent: ExtentVisitor = (logical, physical, count, isUnwritten) =>
    this.#addExtent(logical, physical, count, isUnwritten ? UNWRITTEN : 0);

  constructor(writer: CrawlFileWriter, volume: number, counts: CrawlCounts, tell: () => void) {
    this.#writer = writer;
    this.#volume = volume;
    this.#counts = counts;
    this.#tell = tell;
  }

  begin(): void {}

  inode(ino: number, state: InodeState, crawled: CrawledInode): void {
    const buffer = this.#writer.begin();
    const start = this.#writer.begun;
    this.#buffer = buffer;
    this.#ino = ino;
    buffer.set(INODE.bytes, start);
    this.#fixed(start, ino, state, crawled);
    this.#at = start + INODE.end;
    const target = crawled.target();
    if (target !== undefined) this.#binary("target", target);
    const attributes = crawled.attributes(MOST_ATTRIBUTES, LONGEST_VALUE);
    if (attributes.length > 0) this.#addAttributes(attributes);
    this.#array = -1;
    crawled.extents(this.#extent);
    if (this.#array >= 0) this.#close(this.#array);
    if (crawled.problem !== "") this.#string("problem", crawled.problem);
    this.#writer.end(this.#at);
    this.#counts.inodes++;
    this.#count();
  }

  name(directory: number, name: Buffer, from: number, length: number, ino: number, isAgain: boolean): void {
    const buffer = this.#writer.begin();
    const start = this.#writer.begun;
    buffer.set(NAME.bytes, start);
    buffer.writeInt32LE(this.#volume, start + NAME.at.volume);
    int64(buffer, start + NAME.at.directory, directory);
    int64(buffer, start + NAME.at.ino, ino);
    let at = start + NAME.end;
    buffer.set(NAME_HEAD, at);
    at += NAME_HEAD.length;
    buffer.writeInt32LE(length, at - 5);
    name.copy(buffer, at, from, from + length);
    at += length;
    if (isAgain) {
      buffer.set(AGAIN, at);
      at += AGAIN.length;
    }
    this.#writer.end(at);
    this.#counts.names++;
    this.#count();
  }

  #count(): void {
    if (++this.#taken % TELL_EVERY === 0) this.#tell();
  }

  #fixed(start: number, ino: number, state: InodeState, crawled: CrawledInode): void {
    const buffer = this.#buffer;
    const all = this.#attributes;
    crawled.fill(all);
    const { at } = INODE;
    buffer.writeInt32LE(this.#volume, start + at.volume);
    int64(buffer, start + at.ino, ino);
    int64(buffer, start + at.generation, state.generation);
    buffer.writeInt32LE(state.mode, start + at.mode);
    buffer.writeInt32LE(state.nlink, start + at.nlink);
    int64(buffer, start + at.uid, state.uid);
    int64(buffer, start + at.gid, state.gid);
    int64(buffer, start + at.size, state.size);
    int64(buffer, start + at.blocks, all.blocks);
    int64(buffer, start + at.flags, crawled.flags);
    int64(buffer, start + at.layoutFlags, crawled.layoutFlags);
    buffer.writeInt32LE(state.major, start + at.major);
    buffer.writeInt32LE(state.minor, start + at.minor);
    buffer[start + at.hasAttributes] = state.hasAttributes === true ? 1 : 0;
    int64(buffer, start + at.atime, all.atime);
    buffer.writeInt32LE(all.atimeNsec, start + at.atimeNsec);
    int64(buffer, start + at.mtime, state.mtime);
    buffer.writeInt32LE(state.mtimeNsec, start + at.mtimeNsec);
    int64(buffer, start + at.ctime, state.ctime);
    buffer.writeInt32LE(state.ctimeNsec, start + at.ctimeNsec);
    int64(buffer, start + at.btime, state.btime);
    buffer.writeInt32LE(state.btimeNsec, start + at.btimeNsec);
  }

  #addExtent(logical: number, physical: number, count: number, flags: number): void {
    if (this.#array >= 0 && this.#inArray === MOST_EXTENTS) this.#goOn();
    if (this.#array < 0) {
      this.#array = this.#open("extents", Element.ARRAY);
      this.#inArray = 0;
    }
    const buffer = this.#buffer;
    const key = KEYS[this.#inArray++] as Buffer;
    buffer[this.#at] = Element.DOCUMENT;
    buffer.set(key, this.#at + 1);
    const start = this.#at + 1 + key.length;
    buffer.set(EXTENT.bytes, start);
    int64(buffer, start + EXTENT.at.logical, logical);
    int64(buffer, start + EXTENT.at.physical, physical);
    int64(buffer, start + EXTENT.at.count, count);
    buffer.writeInt32LE(flags, start + EXTENT.at.flags);
    this.#at = start + EXTENT.bytes.length;
    this.#counts.extents++;
  }

  /** Ends the document, whose extents are as many as one has, and begins another for more of them. */
  #goOn(): void {
    this.#close(this.#array);
    this.#writer.end(this.#at);
    this.#buffer = this.#writer.begin();
    const start = this.#writer.begun;
    this.#buffer.set(EXTENTS.bytes, start);
    this.#buffer.writeInt32LE(this.#volume, start + EXTENTS.at.volume);
    int64(this.#buffer, start + EXTENTS.at.ino, this.#ino);
    this.#at = start + EXTENTS.end;
    this.#array = -1;
  }

  #addAttributes(attributes: readonly CrawledAttribute[]): void {
    const array = this.#open("attributes", Element.ARRAY);
    for (const [i, { name, size, value }] of attributes.entries()) {
      const one = this.#openAt(KEYS[i] as Buffer, Element.DOCUMENT);
      const bytes = Buffer.from(name, "latin1");
      if (isUtf8(bytes)) this.#string("name", bytes.toString());
      else this.#binary("name", bytes);
      this.#key("size", Element.INT64);
      int64(this.#buffer, this.#at, size);
      this.#at += 8;
      if (value !== undefined) this.#binary("value", value);
      this.#close(one);
    }
    this.#close(array);
  }

  #key(name: string, type: number): void {
    this.#buffer[this.#at++] = type;
    this.#at += this.#buffer.write(name, this.#at, "latin1");
    this.#buffer[this.#at++] = 0;
  }

  #string(name: string, value: string): void {
    this.#key(name, Element.STRING);
    const length = this.#buffer.write(value, this.#at + 4, "utf8");
    this.#buffer.writeInt32LE(length + 1, this.#at);
    this.#at += 4 + length;
    this.#buffer[this.#at++] = 0;
  }

  #binary(name: string, value: Buffer): void {
    this.#key(name, Element.BINARY);
    this.#buffer.writeInt32LE(value.length, this.#at);
    this.#buffer[this.#at + 4] = 0;
    this.#at += 5;
    this.#at += value.copy(this.#buffer, this.#at);
  }

  /** Begins a document or an array within the document; returns where. */
  #open(name: string, type: number): number {
    return this.#openAt(Buffer.from(`${name}\0`, "latin1"), type);
  }

  #openAt(key: Buffer, type: number): number {
    this.#buffer[this.#at++] = type;
    this.#at += key.copy(this.#buffer, this.#at);
    const start = this.#at;
    this.#at += 4;
    return start;
  }

  #close(start: number): void {
    this.#buffer[this.#at++] = 0;
    this.#buffer.writeInt32LE(this.#at - start, start);
  }
}

/** Writes a whole number of up to 53 bits, and a sign. */
function int64(buffer: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  buffer.writeUInt32LE(value - high * 2 ** 32, at);
  buffer.writeInt32LE(high, at + 4);
}
