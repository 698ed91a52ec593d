/** Reads all that can be read of a disk image through the built library, within limits of entries and bytes. */
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const CACHE = 1 << 20;
/** The most entries and bytes read of one mutant, and bytes of one file at one place. */
const MOST_ENTRIES = 3000;
const MOST_BYTES = 8 << 20;
const CHUNK = 32768;
/** A map of names that takes more is an error: none of the images has so many. */
const MOST_MAP_BYTES = 64 << 20;
/** Bytes of a crawl's documents: none of the images has so much. */
const MOST_DOCUMENT_BYTES = 64 << 20;
const SEEKS = 6;

/** The parts of the library that are fuzzed; `folder` is what the TypeScript compiler made. */
export async function loadLibrary(folder) {
  const load = (file) => import(pathToFileURL(join(resolve(folder), file)).href);
  const modules = await Promise.all(
    [
      "filesystems/filesystem.js",
      "filesystems/formats.js",
      "filesystems/ext/open.js",
      "images/io-error.js",
      "inference/crawl-file/reader.js",
      "inference/crawl-file/writer.js",
      "inference/extent-table.js",
      "inference/index-sink.js",
      "layout/crc16.js",
      "layout/crc32c.js",
      "versions/block-cache.js",
      "volumes/volumes.js",
    ].map(load),
  );
  return Object.assign({}, ...modules);
}

/** Bytes in memory, which a test can exchange for later ones. */
class Memory {
  constructor(bytes) {
    this.bytes = bytes;
  }

  get size() {
    return this.bytes.length;
  }

  read(target, targetOffset, length, position) {
    if (!(position < this.bytes.length)) return 0;
    return this.bytes.copy(target, targetOffset, position, Math.min(position + length, this.bytes.length));
  }
}

/** Reads mutants; throws whatever is no answer (an answer is an IoError with a positive errno). */
export class Reader {
  #library;
  #attributes;
  #statistics;
  #target = Buffer.alloc(CHUNK);
  #entries = 0;
  #bytes = 0;
  /** How many calls gave a result, and how many an error, since the reader was made. */
  answered = 0;
  refused = 0;

  constructor(library) {
    this.#library = library;
    this.#attributes = new library.Attributes();
    this.#statistics = new library.Statistics();
  }

  /** How many directory entries the last disk had, as far as they were read. */
  get entries() {
    return this.#entries;
  }

  /**
   * Reads a disk: all its volumes. `commits` tells where on it commit blocks of journals are; `before`: it is also read as
   * what that one has become.
   */
  disk(bytes, commits, before) {
    this.#entries = 0;
    this.#bytes = 0;
    const { findVolumes, identify, openFileSystem, openExt } = this.#library;
    const log = (line) => {
      if (typeof line !== "string" || line.includes("\n"))
        throw new Error(`a log line: ${JSON.stringify(line)}`);
    };
    const table = this.#try(() => findVolumes(new Memory(bytes), "sda", log));
    for (const { source } of table?.volumes ?? []) {
      this.#try(() => identify(source));
      const system =
        this.#try(() => openFileSystem(source, this.#cache(), log)) ??
        this.#try(() => openExt(source, this.#cache(), log));
      if (system !== undefined) this.#system(system);
      this.#crawl(source, log);
    }
    if (commits.length > 0) this.#follow(bytes, commits, log);
    if (before !== undefined) this.#followFrom(before, bytes, log);
  }

  #cache() {
    return new this.#library.BlockCache(CACHE);
  }

  /** The result of a call, or undefined where the library answers with an error. */
  #try(call) {
    try {
      const result = call();
      this.answered++;
      return result;
    } catch (error) {
      if (!(error instanceof this.#library.IoError) || !(Number.isInteger(error.errno) && error.errno > 0))
        throw error;
      this.refused++;
      return undefined;
    }
  }

  /** Crawls a volume, and asks the map for all that it knows of what was found first. */
  #crawl(source, log) {
    const { crawlFileSystem, IndexSink } = this.#library;
    const sink = new IndexSink(MOST_MAP_BYTES);
    this.#try(() => crawlFileSystem(source, this.#cache(), log, sink) ?? true);
    const { index } = sink;
    let known = 0;
    for (const ino of index.inodes()) {
      if (++known > MOST_ENTRIES) break;
      index.state(ino);
      index.path(ino);
      index.ancestors(ino);
      for (const { directory, name } of index.names(ino)) index.pathOf(directory, name);
    }
    this.#crawlFile(source, index);
    this.#blocks(source);
  }

  /** Crawls a volume to documents, and reads these: they have what the map has. */
  #crawlFile(source, index) {
    const { crawlFileSystem, CrawlFileReader, CrawlFileWriter, IndexSink } = this.#library;
    const pieces = [];
    let bytes = 0;
    const writer = new CrawlFileWriter((piece) => {
      pieces.push(Buffer.from(piece));
      bytes += piece.length;
      if (bytes > MOST_DOCUMENT_BYTES) throw new Error(`a crawl of ${bytes} bytes and more`);
    });
    writer.few("header", { format: "slashcloud-crawl" });
    const counts = { inodes: 0, names: 0, extents: 0 };
    const found = this.#try(() =>
      crawlFileSystem(
        source,
        this.#cache(),
        () => {},
        writer.sink(0, counts, () => {}),
      ),
    );
    if (found === undefined) return;
    writer.few("end", { documents: writer.documents });
    writer.flush();
    const sink = new IndexSink(MOST_MAP_BYTES);
    const reader = new CrawlFileReader({ volume: 0, rootInode: index.rootInode }, sink);
    for (const piece of pieces) reader.feed(piece);
    reader.end();
    for (const ino of index.inodes())
      if (!index.isSame(ino, sink.index)) throw new Error(`inode ${ino} is another in the crawl's file`);
  }

  #blocks(source) {
    const { crawlBlocks, ExtentTable } = this.#library;
    let table = new ExtentTable(0);
    this.#try(
      () =>
        crawlBlocks(source, this.#cache(), () => {}, {
          begin: (_, blocks) => {
            table = new ExtentTable(blocks);
          },
          extent: (...extent) => table.extent(...extent),
        }) ?? true,
    );
    const sorted = table.sorted();
    for (let n = 1; n < sorted.length; n++)
      if (sorted.physical(n) < sorted.end(n - 1))
        throw new Error(`block ${sorted.physical(n)} is two things`);
  }

  #system(system) {
    this.#try(() => system.statistics(this.#statistics));
    for (const [key, value] of Object.entries(this.#statistics)) {
      if (!Number.isSafeInteger(value) || value < 0) throw new Error(`statistics: ${key} is ${value}`);
    }
    this.#tree(system);
    // Read again, now that there is something to remember.
    this.#try(() => system.forget());
    this.#try(() => system.stat(system.rootInode, this.#attributes));
  }

  #tree(system) {
    const seen = new Set([system.rootInode]);
    const directories = [system.rootInode];
    for (let ino = directories.pop(); ino !== undefined; ino = directories.pop()) {
      this.#try(() => system.parent(ino));
      for (const { name, ino: found } of this.#list(system, ino)) {
        this.#try(() => system.lookup(ino, name));
        if (seen.has(found)) continue;
        seen.add(found);
        const type = this.#inode(system, found);
        if (type === 0o040000) directories.push(found);
      }
      this.#try(() => system.lookup(ino, NO_SUCH_NAME));
    }
    // The first inodes, whether or not they have names.
    for (let ino = 0; ino < 16; ino++) if (!seen.has(ino)) this.#inode(system, ino);
  }

  #list(system, directory) {
    const entries = [];
    let last = 0;
    let taken = 0;
    const visitor = {
      entry: (name, nameOffset, nameLength, ino, _type, next) => {
        // A listing goes on in parts, as one through FUSE does.
        if (this.#entries >= MOST_ENTRIES || taken === 50) return false;
        this.#entries++;
        taken++;
        last = next;
        entries.push({ name: Buffer.from(name.subarray(nameOffset, nameOffset + nameLength)), ino });
        return true;
      },
    };
    do {
      taken = 0;
      const before = last;
      this.#try(() => system.list(directory, last, visitor));
      if (taken > 0 && last <= before) throw new Error(`directory ${directory}: listing stays at ${last}`);
    } while (taken > 0 && this.#entries < MOST_ENTRIES);
    return entries;
  }

  /** Reads all of an inode but a directory's entries; returns its type. */
  #inode(system, ino) {
    const attributes = this.#attributes;
    if (this.#try(() => system.stat(ino, attributes) ?? true) === undefined) return -1;
    const type = attributes.mode & 0o170000;
    const { size } = attributes;
    for (const [key, value] of Object.entries(attributes)) {
      // i_blocks of 48 bits counts blocks of up to 64 KiB, and is told in sectors: a double with no bits below.
      const isExact =
        Number.isSafeInteger(value) || (key === "blocks" && Number.isInteger(value) && value < 2 ** 55);
      if (!isExact) throw new Error(`inode ${ino}: ${key} is ${value}`);
    }
    for (const name of this.#try(() => system.attributeNames(ino)) ?? []) {
      this.#try(() => system.attribute(ino, name));
    }
    this.#try(() => system.attribute(ino, "user.absent"));
    if (system.type === "ntfs") for (const name of OF_NTFS) this.#try(() => system.attribute(ino, name));
    this.#try(() => system.readlink(ino));
    if (type === 0o100000) this.#contents(system, ino, size);
    else this.#otherContents(system, ino);
    return type;
  }

  /** What has no bytes to read must answer all the same. */
  #otherContents(system, ino) {
    this.#try(() => system.read(ino, 0, CHUNK, this.#target, 0));
    for (const hole of [false, true]) this.#try(() => system.seek(ino, 0, hole));
  }

  #contents(system, ino, size) {
    for (let at = 0; at < Math.min(size, 4 * CHUNK) && this.#bytes < MOST_BYTES; at += CHUNK) {
      if (!this.#read(system, ino, at, size)) break;
    }
    if (size > 4 * CHUNK) {
      for (const at of [Math.floor(size / 2), size - CHUNK, size - 1, 2 ** 32 - 512, 2 ** 42 - 512]) {
        if (at < size) this.#read(system, ino, at, size);
      }
    }
    this.#read(system, ino, size, size);
    let hole = false;
    for (let at = 0, n = 0; n < SEEKS && at >= 0 && at < size; n++, hole = !hole) {
      const found = this.#try(() => system.seek(ino, at, hole));
      if (found === undefined) break;
      if (found !== -1 && (found < at || found > size))
        throw new Error(`inode ${ino}: seek from ${at} gives ${found}`);
      at = found;
    }
    this.#try(() => system.seek(ino, size - 1, true));
  }

  #read(system, ino, at, size) {
    const got = this.#try(() => system.read(ino, at, CHUNK, this.#target, 0));
    if (got === undefined) return false;
    if (got !== Math.max(0, Math.min(CHUNK, size - at))) {
      throw new Error(`inode ${ino}: a read at ${at} of ${size} bytes gives ${got}`);
    }
    this.#bytes += got;
    return true;
  }

  /** Opens a disk, which then becomes another one. */
  #followFrom(before, bytes, log) {
    const { followFileSystem, openFileSystem } = this.#library;
    const source = new Memory(before);
    const follower = followFileSystem(source, this.#cache(), log);
    const system = openFileSystem(source, this.#cache(), log);
    for (let n = 0; n < 20; n++) {
      if (follower.maps !== undefined) source.bytes = bytes;
      const look = this.#try(() => follower.look());
      if (look === undefined) continue;
      if ("reopen" in look) return;
      for (const { commit } of look.steps) this.#try(() => system.apply(commit));
    }
    this.#tree(system);
  }

  /** Opens the disk as it was before all but the first transaction were finished; then they are. */
  #follow(bytes, commits, log) {
    const { followFileSystem, openFileSystem } = this.#library;
    const before = Buffer.from(bytes);
    for (const at of commits.slice(1)) before.fill(0, at, Math.min(at + 12, before.length));
    const source = new Memory(before);
    const follower = this.#try(() => followFileSystem(source, this.#cache(), log));
    if (follower === undefined) return;
    const system = this.#try(() => openFileSystem(source, this.#cache(), log));
    source.bytes = bytes;
    for (let n = 0; n < 3; n++) {
      const look = this.#try(() => follower.look());
      if (look === undefined || "reopen" in look || system === undefined) break;
      for (const { commit } of look.steps) this.#try(() => system.apply(commit));
      if (look.settled !== undefined) this.#try(() => system.settle(look.settled));
    }
    if (system !== undefined) this.#tree(system);
  }
}

/** What is not listed, and can be asked for. */
const OF_NTFS = ["attrib", "acl", "reparse_data", "ea", "dos_name", "object_id", "times"].map(
  (name) => `system.ntfs_${name}`,
);
const NO_SUCH_NAME = Buffer.from("no such name");
