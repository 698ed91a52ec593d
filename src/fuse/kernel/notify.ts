import { writeSync } from "node:fs";
import { NAME_MAX } from "../names.js";
import { Notification, ReplyHeader, Size } from "./protocol.js";
import { put64 } from "./words.js";

/** Bytes of struct fuse_notify_inval_inode_out, fuse_notify_inval_entry_out and fuse_notify_delete_out. */
const INVAL_INODE_SIZE = 24;
const INVAL_ENTRY_SIZE = 16;
const DELETE_SIZE = 24;

const PAYLOAD = ReplyHeader.PAYLOAD;

/** The kernel had nothing to drop, or cannot drop it (a directory in use), or the file system is unmounted. */
const NOTHING = new Set(["ENOENT", "ENOTDIR", "ENOTEMPTY", "EBUSY", "ENODEV", "ENOTCONN"]);

/**
 * Tells the kernel to drop what it has cached. To be used from another thread than the one that serves: dropping
 * waits for a READ of the same file that is being served, and would wait for ever in that thread.
 *
 * Each method returns whether the kernel had something to drop, and throws a Node system error if it refused.
 */
export class Notifier {
  readonly #fd: number;
  readonly #bytes = Buffer.from(new ArrayBuffer(Size.REPLY_HEADER + DELETE_SIZE + ((NAME_MAX + 1 + 7) & ~7)));
  readonly #words = new Uint32Array(this.#bytes.buffer);

  /** `fd`: the mount's descriptor of /dev/fuse. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Drops a node's attributes and `length` bytes of its cached data from `offset` on; a length of 0 is all that
   * follows, a negative offset leaves the data.
   */
  invalidateInode(high: number, low: number, offset = 0, length = 0): boolean {
    this.#putNode(0, high, low);
    put64(this.#words, PAYLOAD + 2, offset);
    put64(this.#words, PAYLOAD + 4, length);
    return this.#send(Notification.INVAL_INODE, INVAL_INODE_SIZE);
  }

  /** Drops a name in a directory: it is looked up again when it is next used. */
  invalidateEntry(high: number, low: number, name: Buffer): boolean {
    this.#putNode(0, high, low);
    this.#words[PAYLOAD + 2] = name.length;
    this.#words[PAYLOAD + 3] = 0;
    return this.#send(Notification.INVAL_ENTRY, this.#putName(INVAL_ENTRY_SIZE, name));
  }

  /** Says that a name is deleted: as invalidateEntry, and whoever watches the directory with inotify hears of it. */
  deleteEntry(high: number, low: number, childHigh: number, childLow: number, name: Buffer): boolean {
    this.#putNode(0, high, low);
    this.#putNode(2, childHigh, childLow);
    this.#words[PAYLOAD + 4] = name.length;
    this.#words[PAYLOAD + 5] = 0;
    return this.#send(Notification.DELETE, this.#putName(DELETE_SIZE, name));
  }

  /** Makes the kernel look up every name again when it is next used; false if it cannot (before protocol 7.44). */
  increaseEpoch(): boolean {
    return this.#send(Notification.INC_EPOCH, 0, "EINVAL");
  }

  /**
   * Has the kernel hand out again all requests that were read and not answered, as those of a server that died; false
   * if it cannot (before Linux 6.9). They come with another `unique`, which the answer is to have.
   */
  resend(): boolean {
    return this.#send(Notification.RESEND, 0, "EINVAL");
  }

  #putNode(at: number, high: number, low: number): void {
    this.#words[PAYLOAD + at] = low;
    this.#words[PAYLOAD + at + 1] = high;
  }

  /** Writes a name and its NUL after a structure of `at` bytes; returns the payload's length. */
  #putName(at: number, name: Buffer): number {
    if (name.length > NAME_MAX) throw new RangeError(`a name of ${name.length} bytes`);
    const start = Size.REPLY_HEADER + at;
    name.copy(this.#bytes, start);
    this.#bytes[start + name.length] = 0;
    return at + name.length + 1;
  }

  #send(notification: number, length: number, unknown?: string): boolean {
    this.#words[ReplyHeader.LENGTH] = Size.REPLY_HEADER + length;
    this.#words[ReplyHeader.ERROR] = notification;
    put64(this.#words, ReplyHeader.UNIQUE, 0);
    // Most of what changes the kernel does not have: an error's stack would cost twice what the call does.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    try {
      writeSync(this.#fd, this.#bytes, 0, Size.REPLY_HEADER + length);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== undefined && (NOTHING.has(code) || code === unknown)) return false;
      throw error;
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
    }
  }
}
