/** What the tap's thread and its owner tell each other. */

import type { Address } from "../capture/nbd/server.js";
import type { GuardedGuest } from "../capture/qmp/attachment.js";
import type { QueueCounters, QueueLimits } from "../queue/write-queue.js";
import { WRITE_KINDS, type WriteRecord } from "../queue/write-record.js";

/** A disk that is to be offered. */
export type TapDisk = { readonly name: string } & (
  | {
      readonly kind: "image";
      readonly path: string;
      readonly isReadOnly: boolean;
      /** Its writes are told; else they are only passed on. */
      readonly isCaptured: boolean;
      /** Its accesses are told, reads among them. */
      readonly isTraced?: boolean;
      /** False: what is written is told without its bytes. Default: with them. */
      readonly tellsData?: boolean;
    }
  /** A mirror's target: `size` bytes that are stored nowhere. */
  | {
      readonly kind: "mirror";
      readonly size: number;
      /** False: what is written is told without its bytes. Default: with them. */
      readonly tellsData?: boolean;
    }
  /** The target of `blklogwrites`, whose disk has `size` bytes. */
  | { readonly kind: "log"; readonly size: number; readonly sectorSize: number }
);

/** What the thread is asked, each with a number. */
export type TapRequest =
  | { readonly kind: "listen"; readonly address: Address; readonly prefix: string }
  | { readonly kind: "add"; readonly disk: TapDisk; readonly limits: Partial<QueueLimits> }
  | { readonly kind: "remove"; readonly name: string }
  /** Where a disk's metadata is: pairs of a first byte and the byte after the last, in order. */
  | { readonly kind: "metadata"; readonly name: string; readonly ranges: Float64Array }
  | { readonly kind: "counters"; readonly name: string }
  /** A running guest waits for this thread from now on, which a watchdog is to see to; or no longer. */
  | { readonly kind: "guard"; readonly guest: GuardedGuest }
  | { readonly kind: "release"; readonly socket: string }
  | { readonly kind: "stop" };

/** Answers, by request. */
export interface TapAnswers {
  readonly listen: Address;
  /** Bytes of the disk. */
  readonly add: number;
  /** The last ones; undefined for a disk that is not offered. */
  readonly remove: QueueCounters | undefined;
  readonly metadata: undefined;
  readonly counters: QueueCounters | undefined;
  readonly guard: undefined;
  readonly release: undefined;
  /** The last ones of each disk, by its name. */
  readonly stop: ReadonlyMap<string, QueueCounters>;
}

export type ToTap =
  | { readonly kind: "request"; readonly id: number; readonly request: TapRequest }
  /** A batch has been worked on. */
  | { readonly kind: "done"; readonly batch: number }
  /** A batch of a disk's accesses has been. */
  | { readonly kind: "traced"; readonly disk: string };

export type FromTap =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "refusal"; readonly id: number; readonly message: string; readonly code: string }
  | { readonly kind: "log"; readonly line: string }
  /** A disk has its first client, or no longer any; what was written by then has been told. */
  | { readonly kind: "used"; readonly disk: string; readonly isUsed: boolean }
  /** See AccessLog. */
  | { readonly kind: "accesses"; readonly disk: string; readonly accesses: Float64Array }
  | {
      readonly kind: "batch";
      readonly batch: number;
      readonly disk: string;
      readonly records: PackedRecords;
    };

/** Records as they go from thread to thread: columns, and the data's memory itself, which is not copied. */
export interface PackedRecords {
  /** A kind's place in WRITE_KINDS, FUA and HAS_DATA. */
  readonly kinds: Uint8Array;
  /** Offset, length, sequence and time of each. */
  readonly numbers: Float64Array;
  /** Of those that have any. */
  readonly data: ArrayBuffer[];
}

const FUA = 0x80;
const HAS_DATA = 0x40;

export function packRecords(records: readonly WriteRecord[]): PackedRecords {
  const kinds = new Uint8Array(records.length);
  const numbers = new Float64Array(4 * records.length);
  const data: ArrayBuffer[] = [];
  for (const [i, record] of records.entries()) {
    kinds[i] =
      WRITE_KINDS.indexOf(record.kind) | (record.fua ? FUA : 0) | (record.data !== undefined ? HAS_DATA : 0);
    numbers.set([record.offset, record.length, record.sequence, record.time], 4 * i);
    if (record.data !== undefined) data.push(memoryOf(record.data));
  }
  return { kinds, numbers, data };
}

export function unpackRecords({ kinds, numbers, data }: PackedRecords): WriteRecord[] {
  let taken = 0;
  return Array.from(kinds, (bits, i) => {
    return {
      kind: WRITE_KINDS[bits & ~(FUA | HAS_DATA)]!,
      offset: numbers[4 * i]!,
      length: numbers[4 * i + 1]!,
      data: (bits & HAS_DATA) !== 0 ? Buffer.from(data[taken++]!) : undefined,
      fua: (bits & FUA) !== 0,
      sequence: numbers[4 * i + 2]!,
      time: numbers[4 * i + 3]!,
    };
  });
}

/** Memory that can be handed over: the buffer's own, or a copy if it shares it with others. */
function memoryOf(data: Buffer): ArrayBuffer {
  if (data.buffer instanceof ArrayBuffer && data.byteLength === data.buffer.byteLength) return data.buffer;
  const copy = new ArrayBuffer(data.length);
  data.copy(Buffer.from(copy));
  return copy;
}
