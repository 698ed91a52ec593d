import { writeSync } from "node:fs";
import { Errno } from "../errno.js";
import { ReplyHeader, RequestHeader, Size } from "./protocol.js";
import type { Request } from "./request.js";

/** 4 KiB pages in the largest READ that is asked for: 1 MiB. */
export const MAX_PAGES = 256;
/** Bytes of the largest answer after its header. */
export const MAX_PAYLOAD = MAX_PAGES * 4096;

/** The kernel takes no larger errno in an answer; it would drop the answer and leave the reader waiting. */
const MAX_ERRNO = 511;

/**
 * What a request comes to: how many bytes of the reply's payload are the answer, or a negative errno.
 */
export type Result = number;

/** The answer being made. What follows the header is written straight into `bytes` or `words`. */
export class Reply {
  /** The whole answer; the payload begins at Size.REPLY_HEADER. */
  readonly bytes = Buffer.from(new ArrayBuffer(Size.REPLY_HEADER + MAX_PAYLOAD));
  /** The same bytes as words; the payload begins at ReplyHeader.PAYLOAD. */
  readonly words = new Uint32Array(this.bytes.buffer);

  /** Puts bytes that lie elsewhere into the payload; they must fit. */
  putBytes(payload: Buffer): Result {
    return payload.copy(this.bytes, Size.REPLY_HEADER);
  }

  /** Writes the answer to a request to the descriptor. Throws a Node system error if the kernel refuses it. */
  send(fd: number, request: Request, result: Result): void {
    const { words } = this;
    const length = Size.REPLY_HEADER + Math.max(0, result);
    words[ReplyHeader.LENGTH] = length;
    words[ReplyHeader.ERROR] = result >= 0 ? 0 : result >= -MAX_ERRNO ? result : -Errno.EIO;
    words[ReplyHeader.UNIQUE] = request.words[RequestHeader.UNIQUE] as number;
    words[ReplyHeader.UNIQUE + 1] = request.words[RequestHeader.UNIQUE + 1] as number;
    try {
      writeSync(fd, this.bytes, 0, length);
    } catch (error) {
      // ENOENT: nobody waits for this answer any more. ENODEV: unmounted; the next read says so too.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" && code !== "ENODEV") throw error;
    }
  }
}
