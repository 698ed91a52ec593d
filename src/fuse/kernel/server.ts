import { readSync } from "node:fs";
import { Attributes, type Entry, Statistics, type Tree } from "../../cloud/tree.js";
import { ATTEMPTS, RestlessError } from "../attempts.js";
import { Errno } from "../errno.js";
import { Faults, type Log } from "../faults.js";
import { DirectoryWriter } from "./directory.js";
import { putAttributes, putEntry, putStatfs, putStatx } from "./encode.js";
import type { Forwarder } from "./forwarder.js";
import { negotiate } from "./init.js";
import type { NodeLedger } from "./node-ledger.js";
import {
  InterruptIn,
  LseekIn,
  OPCODES,
  Opcode,
  OpenIn,
  ReadIn,
  ReplyHeader,
  RequestHeader,
  Size,
} from "./protocol.js";
import { MAX_PAYLOAD, Reply, type Result } from "./reply.js";
import { type ForgottenNode, Request } from "./request.js";
import type { RequestCounts } from "./request-counts.js";
import { FIRST_UNIQUE, type RequestRecord } from "./request-record.js";
import { ToldNodes } from "./told-nodes.js";
import { put64 } from "./words.js";
import { getAttribute, listAttributes } from "./xattr.js";

/** SEEK_HOLE of lseek(2); the kernel answers SEEK_SET, SEEK_CUR and SEEK_END itself, so the other is SEEK_DATA. */
const SEEK_HOLE = 4;
/** O_ACCMODE of open(2): other than 0 opens for writing. */
const ACCESS_MODE = 3;
/** A link's target must fit in the kernel's page with a NUL behind it. */
const TARGET_MAX = 4095;
const PAYLOAD = ReplyHeader.PAYLOAD;

/** What a server is given. */
export interface FuseServerOptions {
  /** The mount's descriptor of /dev/fuse. */
  readonly fd: number;
  readonly tree: Tree;
  readonly log: Log;
  /**
   * Whether the kernel opens without asking, and keeps what it has cached of a file or directory until it is notified
   * (see Notifier), or its node's time-out has passed and its size or mtime is another. False, it asks at each open
   * and each directory read, and keeps no data from one open to the next.
   */
  readonly longTimeouts?: boolean;
  /** Counts requests, one place for each opcode; at least OPCODES long. In shared memory others can read it. */
  readonly requests?: Float64Array;
  /** Counts them, and errors, instead. */
  readonly counts?: RequestCounts | undefined;
  /** Told of each node before the kernel is. */
  readonly ledger?: NodeLedger | undefined;
  /** Hands on what this server does not answer itself; undefined: it answers all. */
  readonly forwarder?: Forwarder | undefined;
  /** Has each request put on record, for whoever serves the mount next; undefined: the kernel remembers them itself. */
  readonly record?: RequestRecord | undefined;
  /** Whether another server has served this mount, and has left in the record what it did not answer. */
  readonly isTakenOver?: boolean;
  /** Once it holds another number than 0, no other request is read; in shared memory. */
  readonly ending?: Int32Array;
}

/** Serves a tree to the kernel: reads requests of /dev/fuse one by one and answers each in place. */
export class FuseServer {
  /** How many requests of each opcode came. */
  readonly requests: Float64Array;
  readonly #counts: RequestCounts | undefined;
  readonly #fd: number;
  readonly #tree: Tree;
  readonly #longTimeouts: boolean;
  readonly #ledger: NodeLedger | undefined;
  readonly #forwarder: Forwarder | undefined;
  readonly #record: RequestRecord | undefined;
  readonly #isTakenOver: boolean;
  readonly #ending: Int32Array;
  readonly #log: Log;
  readonly #faults: Faults;
  readonly #request = new Request();
  readonly #reply = new Reply();
  readonly #told = new ToldNodes();
  readonly #directory: DirectoryWriter;
  readonly #entry: Entry = {
    high: 0,
    low: 0,
    generation: 0,
    inoHigh: 0,
    attributes: new Attributes(),
    timeout: 0,
  };
  readonly #statistics = new Statistics();

  constructor(options: FuseServerOptions) {
    this.requests = options.counts?.requests ?? options.requests ?? new Float64Array(OPCODES);
    this.#counts = options.counts;
    this.#fd = options.fd;
    this.#tree = options.tree;
    this.#longTimeouts = options.longTimeouts ?? false;
    this.#faults = new Faults(options.log);
    this.#ledger = options.ledger;
    this.#forwarder = options.forwarder;
    this.#record = options.record;
    this.#isTakenOver = options.isTakenOver ?? false;
    this.#ending = options.ending ?? new Int32Array(1);
    this.#log = options.log;
    this.#directory = new DirectoryWriter(this.#tree, this.#reply, this.#entry, this.#faults, this.#told);
  }

  /**
   * Serves until the file system is unmounted, or it is told to end; blocks the thread all that time. A request that fails
   * is answered with its error and never ends the loop. Throws a Node system error if the descriptor is no mount's.
   */
  serve(): void {
    const record = this.#record;
    if (record !== undefined && this.#isTakenOver) this.#recover(record);
    while (Atomics.load(this.#ending, 0) === 0 && this.#receive()) {
      record?.read(this.#request);
      const { opcode } = this.#request;
      if (opcode < OPCODES) this.requests[opcode] = (this.requests[opcode] as number) + 1;
      const forwarder = this.#forwarder;
      if (wantsNoAnswer(opcode)) {
        if (opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET) this.#forget();
        else if (forwarder !== undefined && opcode === Opcode.INTERRUPT) this.#interrupt(forwarder);
      } else this.#answerOrForward(opcode, false);
    }
  }

  /** `isKept`: the request is on record as one that was handed on. */
  #answerOrForward(opcode: number, isKept: boolean): void {
    const forwarder = this.#forwarder;
    if (forwarder === undefined || !asksTree(opcode) || !forwarder.isElsewhere(this.#request)) {
      this.#send(this.#result(opcode));
    } else if (!(isKept || this.#isKept()) || !forwarder.forward(this.#request)) {
      this.#send(-Errno.EIO);
    }
  }

  /** Has the request kept on record while others are read; false if that cannot be. */
  #isKept(): boolean {
    return this.#record?.forward(this.#request) ?? true;
  }

  /** Answers what an earlier server has read. */
  #recover(record: RequestRecord): void {
    const missing = record.missing();
    if (missing === FIRST_UNIQUE)
      throw new Error("the kernel's first request was lost: it would refuse all others");
    if (missing !== undefined) {
      // Whoever looks up a path, or asks by one for attributes, tries again by itself; so does who reads a file ahead.
      put64(this.#request.words, RequestHeader.UNIQUE, missing);
      this.#send(-Errno.ESTALE);
      this.#log("a request was lost with the server that died: whoever waited for it may get ESTALE");
    }
    for (const { bytes, isWhole, isForwarded } of record.unanswered()) {
      this.#request.bytes.set(bytes);
      if (isWhole) this.#answerOrForward(this.#request.opcode, isForwarded);
      else this.#send(-Errno.EIO);
    }
  }

  /**
   * Answers a request that another thread has read: `bytes`, as it came. Once there is an answer, it is sent only if
   * `isWanted` is true.
   */
  answer(bytes: Uint8Array, isWanted: () => boolean): void {
    this.#request.bytes.set(bytes);
    const result = this.#result(this.#request.opcode);
    if (isWanted()) this.#send(result);
  }

  /** The kernel has forgotten nodes. */
  forgotten(nodes: readonly ForgottenNode[]): void {
    for (const { high, low, times } of nodes) this.#tree.forgotten(high, low, times);
  }

  #forget(): void {
    const nodes = this.#request.forgotten();
    this.forgotten(this.#forwarder?.forget(nodes) ?? nodes);
  }

  #send(result: Result): void {
    if (result >= 0) this.#told.tell(this.#tree, this.#ledger);
    else this.#counts?.failed(this.#request.opcode, -result);
    this.#ledger?.flush();
    try {
      this.#reply.send(this.#fd, this.#request, result);
    } catch (error) {
      this.#faults.report(error, `answer to request ${this.#request.opcode}`);
    }
  }

  #interrupt(forwarder: Forwarder): void {
    const request = this.#request;
    forwarder.interrupt(request.word(InterruptIn.UNIQUE), request.word(InterruptIn.UNIQUE + 1));
  }

  /** Reads the next request; false when there will be no more. */
  #receive(): boolean {
    for (;;) {
      try {
        readSync(this.#fd, this.#request.bytes, 0, this.#request.bytes.length, null);
        return true;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "ENODEV") return false;
        // ENOENT: the request was taken back while it was being read.
        if (code !== "ENOENT" && code !== "EINTR") throw error;
      }
    }
  }

  #result(opcode: number): Result {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      try {
        this.#tree.refresh();
        this.#told.clear();
        const result = this.#answer(opcode);
        if (this.#tree.holds()) return result;
      } catch (error) {
        if (this.#tree.holds()) return -this.#faults.errno(error, `request ${opcode}`);
      }
    }
    return -this.#faults.errno(new RestlessError(), `request ${opcode}`);
  }

  #answer(opcode: number): Result {
    const request = this.#request;
    const { words } = this.#reply;
    switch (opcode) {
      case Opcode.LOOKUP:
        return this.#lookup();
      case Opcode.GETATTR:
        this.#tree.stat(request.high, request.low, this.#entry);
        return putAttributes(words, PAYLOAD, this.#entry);
      case Opcode.STATX:
        this.#tree.stat(request.high, request.low, this.#entry);
        return putStatx(words, PAYLOAD, this.#entry);
      case Opcode.READ:
        return this.#read();
      case Opcode.READDIR:
        return this.#directory.answer(request, false);
      case Opcode.READDIRPLUS:
        return this.#directory.answer(request, true);
      case Opcode.READLINK:
        return this.#readlink();
      case Opcode.OPEN:
      case Opcode.OPENDIR:
        return this.#open();
      case Opcode.GETXATTR:
        return getAttribute(this.#tree, request, this.#reply);
      case Opcode.LISTXATTR:
        return listAttributes(this.#tree, request, this.#reply);
      case Opcode.LSEEK:
        return this.#seek();
      case Opcode.STATFS:
        this.#tree.statistics(request.high, request.low, this.#statistics);
        return putStatfs(words, PAYLOAD, this.#statistics);
      case Opcode.INIT:
        return negotiate(request, this.#reply, this.#longTimeouts, this.#forwarder !== undefined);
      case Opcode.RELEASE:
      case Opcode.RELEASEDIR:
      case Opcode.DESTROY:
        return 0;
      case Opcode.IOCTL:
        return -Errno.ENOTTY;
      default:
        // The kernel takes ENOSYS as "never ask again" and does without: FLUSH, FSYNC, ACCESS, POLL and others.
        return modifies(opcode) ? -Errno.EROFS : -Errno.ENOSYS;
    }
  }

  #lookup(): Result {
    const { high, low } = this.#request;
    const name = this.#request.name();
    // "." and ".." are asked for when a file handle (NFS) is opened of which the kernel knows only the number.
    if (isDots(name, 1)) this.#tree.stat(high, low, this.#entry);
    else if (isDots(name, 2)) this.#tree.parent(high, low, this.#entry);
    else if (!this.#tree.lookup(high, low, name, this.#entry)) return -Errno.ENOENT;
    this.#told.add(this.#entry);
    return putEntry(this.#reply.words, PAYLOAD, this.#entry);
  }

  #read(): Result {
    const request = this.#request;
    const size = Math.min(request.word(ReadIn.SIZE), MAX_PAYLOAD);
    const position = request.long(ReadIn.OFFSET);
    const { bytes } = this.#reply;
    const count = this.#tree.read(request.high, request.low, position, size, bytes, Size.REPLY_HEADER);
    if (!(count >= 0 && count <= size)) throw new RangeError(`${count} bytes were read of ${size}`);
    return count;
  }

  #readlink(): Result {
    const target = this.#tree.readlink(this.#request.high, this.#request.low);
    return target.length > TARGET_MAX ? -Errno.ENAMETOOLONG : this.#reply.putBytes(target);
  }

  /** Files are bound to their node: there is no handle, and nothing to keep. */
  #open(): Result {
    if ((this.#request.word(OpenIn.FLAGS) & ACCESS_MODE) !== 0) return -Errno.EROFS;
    if (this.#longTimeouts) return -Errno.ENOSYS;
    this.#reply.words.fill(0, PAYLOAD, PAYLOAD + Size.OPEN / 4);
    return Size.OPEN;
  }

  #seek(): Result {
    const request = this.#request;
    const position = request.long(LseekIn.OFFSET);
    const hole = request.word(LseekIn.WHENCE) === SEEK_HOLE;
    const found = this.#tree.seek(request.high, request.low, position, hole);
    if (found < 0) return -Errno.ENXIO;
    put64(this.#reply.words, PAYLOAD, found);
    return Size.LSEEK;
  }
}

/** Whether a name is `length` dots (1 or 2). */
function isDots(name: Buffer, length: number): boolean {
  return name.length === length && name[0] === 0x2e && name[length - 1] === 0x2e;
}

/**
 * Whether the kernel waits for no answer. INTERRUPT is one: it comes after the request that it is about was answered,
 * unless that was forwarded, as requests are answered one by one.
 */
function wantsNoAnswer(opcode: number): boolean {
  return (
    opcode === Opcode.FORGET ||
    opcode === Opcode.BATCH_FORGET ||
    opcode === Opcode.INTERRUPT ||
    opcode === Opcode.NOTIFY_REPLY
  );
}

/** Whether the tree is needed for the answer. */
function asksTree(opcode: number): boolean {
  switch (opcode) {
    case Opcode.LOOKUP:
    case Opcode.GETATTR:
    case Opcode.STATX:
    case Opcode.READ:
    case Opcode.READDIR:
    case Opcode.READDIRPLUS:
    case Opcode.READLINK:
    case Opcode.GETXATTR:
    case Opcode.LISTXATTR:
    case Opcode.LSEEK:
    case Opcode.STATFS:
      return true;
    default:
      return false;
  }
}

/** Whether a request would change something. */
function modifies(opcode: number): boolean {
  switch (opcode) {
    case Opcode.SETATTR:
    case Opcode.SYMLINK:
    case Opcode.MKNOD:
    case Opcode.MKDIR:
    case Opcode.UNLINK:
    case Opcode.RMDIR:
    case Opcode.RENAME:
    case Opcode.RENAME2:
    case Opcode.LINK:
    case Opcode.WRITE:
    case Opcode.SETXATTR:
    case Opcode.REMOVEXATTR:
    case Opcode.CREATE:
    case Opcode.TMPFILE:
    case Opcode.FALLOCATE:
    case Opcode.COPY_FILE_RANGE:
    case Opcode.COPY_FILE_RANGE_64:
      return true;
    default:
      return false;
  }
}
