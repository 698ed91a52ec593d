import { BatchForgetIn, ForgetIn, ForgetOne, Opcode, RequestHeader, Size } from "./protocol.js";
import { get64 } from "./words.js";

/**
 * Bytes of the buffer that requests are read into. The kernel refuses a smaller one (FUSE_MIN_READ_BUFFER), and
 * nothing that a read-only mount is asked comes near it; WRITE, which might, is kept below by INIT's max_write.
 */
const BUFFER_SIZE = 8192;

/** A node that the kernel was told of `times` times does not exist there any more, or so many times less. */
export interface ForgottenNode {
  readonly high: number;
  readonly low: number;
  readonly times: number;
}

/** The request being answered, read in place. Every property is of the request last read into `bytes`. */
export class Request {
  readonly bytes = Buffer.from(new ArrayBuffer(BUFFER_SIZE));
  readonly words = new Uint32Array(this.bytes.buffer);
  /** One view for each length of a name, so that a LOOKUP makes no object. */
  readonly #names: Buffer[] = [];

  get length(): number {
    return this.words[RequestHeader.LENGTH] as number;
  }

  get opcode(): number {
    return this.words[RequestHeader.OPCODE] as number;
  }

  /** Upper half of the node's id. */
  get high(): number {
    return this.words[RequestHeader.NODE + 1] as number;
  }

  /** Lower half of the node's id. */
  get low(): number {
    return this.words[RequestHeader.NODE] as number;
  }

  /** A 32-bit word of the arguments. */
  word(at: number): number {
    return this.words[RequestHeader.ARGUMENTS + at] as number;
  }

  /** A 64-bit number of the arguments. */
  long(at: number): number {
    return get64(this.words, RequestHeader.ARGUMENTS + at);
  }

  /** The nodes of a FORGET or BATCH_FORGET. */
  forgotten(): ForgottenNode[] {
    if (this.opcode === Opcode.FORGET) {
      return [{ high: this.high, low: this.low, times: this.long(ForgetIn.TIMES) }];
    }
    const end = this.length / 4 - RequestHeader.ARGUMENTS;
    const nodes: ForgottenNode[] = [];
    for (let left = this.word(BatchForgetIn.COUNT), at = BatchForgetIn.FIRST; left > 0 && at < end; left--) {
      const node = at + ForgetOne.NODE;
      nodes.push({ high: this.word(node + 1), low: this.word(node), times: this.long(at + ForgetOne.TIMES) });
      at += ForgetOne.SIZE;
    }
    return nodes;
  }

  /** The name that is a LOOKUP's whole argument, without its NUL. A view: valid until the next request. */
  name(): Buffer {
    const length = Math.max(0, this.length - Size.REQUEST_HEADER - 1);
    let name = this.#names[length];
    if (name === undefined) {
      name = this.bytes.subarray(Size.REQUEST_HEADER, Size.REQUEST_HEADER + length);
      this.#names[length] = name;
    }
    return name;
  }
}
