/** A disk that is offered by NBD. */
import type { WriteKind, WriteRecord, WriteSink } from "../../queue/write-record.js";
import { Access, type AccessLog } from "../access-log.js";

/** What is an access of a known range: a write that was lost may have been done, too. */
const ACCESSES: ReadonlyMap<WriteKind, number> = new Map([
  ["write", Access.WRITE],
  ["gap", Access.WRITE],
  ["zeroes", Access.ZEROES],
  ["discard", Access.DISCARD],
]);

/** Where an export's bytes are, if anywhere. Each call's range lies within `size`. Failures are Node system errors. */
export interface Store {
  /** Bytes. Does not change. */
  readonly size: number;
  readonly isReadOnly: boolean;
  /** Whether a flush on one connection covers what was acknowledged on another, and all see the same bytes. */
  readonly isShared: boolean;
  /** Whether zeroing is faster than writing zeros. */
  readonly zeroesFast: boolean;
  /** Whether it does anything with the bytes that are written. */
  readonly keepsData: boolean;
  /** Status flags of `base:allocation`, for any range. */
  readonly allocation: number;
  /** Fills `length` bytes of `target` from `targetOffset` on. */
  read(target: Buffer, targetOffset: number, length: number, offset: number): Promise<void>;
  /**
   * `isDurable`: only done when the bytes outlive a power cut. Nobody changes `data` afterwards. Not called if
   * `keepsData` is false.
   */
  write(data: Buffer, offset: number, isDurable: boolean): Promise<void>;
  zero(offset: number, length: number, isDurable: boolean): Promise<void>;
  /** Makes what was written before durable. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface ExportOptions {
  /** False: the records of writes come without their bytes, for those who only want to know where. */
  readonly tellsData?: boolean;
  /** What is asked of the disk is noted there, reads among it. */
  readonly accesses?: AccessLog | undefined;
}

/** A store under a name; what is done to it is told to a sink. */
export class Export {
  readonly name: string;
  readonly description: string;
  readonly store: Store;
  readonly #tellsData: boolean;
  readonly #sink: WriteSink;
  readonly #accesses: AccessLog | undefined;
  #sequence = 0;
  /** What the sink asked its writers to wait for. */
  #hold: Promise<void> | undefined;

  constructor(
    name: string,
    description: string,
    store: Store,
    sink: WriteSink,
    { tellsData = true, accesses }: ExportOptions = {},
  ) {
    this.#tellsData = tellsData;
    this.name = name;
    this.description = description;
    this.store = store;
    this.#sink = sink;
    this.#accesses = accesses;
  }

  /** Whether anybody needs the bytes that are written. */
  get takesData(): boolean {
    return this.#tellsData || this.store.keepsData;
  }

  /** To be awaited before a further request is taken, if the sink is behind and its policy is not to lose anything. */
  get hold(): Promise<void> | undefined {
    return this.#hold;
  }

  /** Notes that a range has been read. */
  noteRead(offset: number, length: number): void {
    this.#accesses?.add(Access.READ, offset, length);
  }

  /** Tells the sink what was done. To be called after the client's answer is on its way. */
  tell(kind: WriteKind, offset: number, length: number, data: Buffer | undefined, fua: boolean): void {
    const record: WriteRecord = {
      kind,
      offset,
      length,
      data: this.#tellsData ? data : undefined,
      fua,
      sequence: ++this.#sequence,
      time: Date.now(),
    };
    const access = this.#accesses && ACCESSES.get(kind);
    if (access !== undefined) this.#accesses?.add(access, offset, length);
    const hold = this.#sink.take(record);
    if (hold === undefined || hold === this.#hold) return;
    this.#hold = hold;
    const end = () => {
      if (this.#hold === hold) this.#hold = undefined;
    };
    hold.then(end, end);
  }
}
