/** How many requests came, and how many were answered with errors: in memory that threads can share, one writer each. */
import { OPCODES, Opcode } from "./protocol.js";

/** errno values are below this number; linux has none above 133. */
const ERRNOS = 136;
const PLACES = OPCODES * (1 + ERRNOS);

/** Names of operations by their numbers: `lookup`, `getattr`. */
const OPERATIONS: ReadonlyMap<number, string> = new Map(
  Object.entries(Opcode).map(([name, opcode]) => [opcode, name.toLowerCase()]),
);

export class RequestCounts {
  readonly shared: SharedArrayBuffer;
  /** By opcode. */
  readonly requests: Float64Array;
  /** By opcode and errno; see `place`. */
  readonly errors: Float64Array;

  /** `shared`: those of another thread. */
  constructor(shared = new SharedArrayBuffer(PLACES * Float64Array.BYTES_PER_ELEMENT)) {
    this.shared = shared;
    this.requests = new Float64Array(shared, 0, OPCODES);
    this.errors = new Float64Array(shared, OPCODES * Float64Array.BYTES_PER_ELEMENT);
  }

  /** A request was answered with an errno (positive). */
  failed(opcode: number, errno: number): void {
    if (opcode >= OPCODES || errno >= ERRNOS) return;
    const place = opcode * ERRNOS + errno;
    this.errors[place] = (this.errors[place] as number) + 1;
  }

  /** Operations and how often they were asked for, those that were not left out. */
  *counted(): Generator<[operation: string, count: number]> {
    for (const [opcode, name] of OPERATIONS) {
      const count = this.requests[opcode] as number;
      if (count > 0) yield [name, count];
    }
  }

  /** The same of those that were answered with an error. */
  *failures(): Generator<[operation: string, errno: number, count: number]> {
    for (const [opcode, name] of OPERATIONS) {
      for (let errno = 1; errno < ERRNOS; errno++) {
        const count = this.errors[opcode * ERRNOS + errno] as number;
        if (count > 0) yield [name, errno, count];
      }
    }
  }
}
