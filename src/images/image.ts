/** Bytes that can be read at a position: an image, or a volume within one. */
export interface Source {
  /** Bytes. May grow while the guest runs. */
  readonly size: number;

  /** Another number than before if anything may have been written; undefined where that cannot be told. */
  readonly revision?: number | undefined;

  /**
   * Reads `length` bytes at `position` into `target` from `targetOffset` on.
   * Returns how many bytes were there: fewer than asked only at the end of the source.
   * Throws a Node system error (EIO, ...) when the bytes cannot be had.
   */
  read(target: Buffer, targetOffset: number, length: number, position: number): number;
}

/** Some bytes of a source: where they lie, and how many. */
export interface Spot {
  readonly source: Source;
  readonly position: number;
  readonly length: number;
}

/** How it stands with a program that serves an image. */
export interface Service {
  /** Whether it answers; while it does not, all reads fail at once. */
  readonly isAnswering: boolean;
  /** How often it did not answer a read in time. */
  readonly outages: number;
  /** What was wrong last, in one line. */
  readonly trouble: string;
}

/** Where a disk's bytes are read from. */
export interface Image extends Source {
  /** What the user named: a path or a URL. */
  readonly name: string;
  /** A file of this host's that changes when the disk is written to: its own, or its server's. Undefined: none is known. */
  readonly file: string | undefined;
  /** Undefined: no other program serves it. */
  readonly service?: Service;
  close(): void;
}

/** How much a line of the log matters: something does not work, has to be looked at, is worth knowing, or is just told. */
export type LogLevel = "error" | "warning" | "notice" | "info";

/** What a line of the log is about. */
export interface LogAbout {
  /** Left out: a warning. */
  readonly level?: LogLevel;
  readonly guest?: string;
  /** `sda1`, or `sda` for a disk as a whole. */
  readonly volume?: string;
}

/** Where parsers report what they had to pass over. One line, no line end. */
export type Log = (line: string, about?: LogAbout) => void;

/** A log whose lines have that before them, and are about that, too. */
export function logWithin(log: Log, prefix: string, about: LogAbout): Log {
  return (line, more) => log(`${prefix}: ${line}`, { ...about, ...more });
}
