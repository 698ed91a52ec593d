/** A log from its first line to where it ends now, whatever is written or removed meanwhile. */
import { closeSync, openSync, readSync } from "node:fs";
import { LineParts, NEWLINE } from "./line.js";
import { segmentPath } from "./log-files.js";
import type { SegmentEnd } from "./log-position.js";

/** Bytes that are read at a time; more for a line that is longer. */
const PIECE = 64 << 10;

/** A stored event. */
export interface StoredLine {
  /** The event as JSON, without a line end. */
  readonly json: string;
  readonly isLast: boolean;
}

export class LogReplay {
  readonly #segments: { readonly fd: number; readonly size: number }[] = [];

  /** Opens what is there up to the ends. Throws a system error other than ENOENT. */
  constructor(folder: string, ends: { readonly current: SegmentEnd; readonly previous: SegmentEnd }) {
    for (const { segment, size } of [ends.previous, ends.current]) {
      if (segment === 0) continue;
      try {
        this.#segments.push({ fd: openSync(segmentPath(folder, segment), "r"), size });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
        this.close();
        throw error;
      }
    }
  }

  /** All lines, the oldest first. Throws a system error. */
  *lines(): Generator<StoredLine> {
    const parts = new LineParts();
    let piece = Buffer.allocUnsafe(PIECE);
    for (const { fd, size } of this.#segments) {
      for (let position = 0; position < size; ) {
        const wanted = Math.min(piece.length, size - position);
        const got = readSync(fd, piece, 0, wanted, position);
        const whole = got === 0 ? 0 : piece.subarray(0, got).lastIndexOf(NEWLINE) + 1;
        if (whole === 0) {
          if (got < wanted || got === size - position) break;
          piece = Buffer.allocUnsafe(piece.length * 2);
          continue;
        }
        for (let at = 0; at < whole; ) {
          const end = piece.indexOf(NEWLINE, at);
          if (parts.parse(piece, at, end))
            yield { json: piece.toString("utf8", parts.json, end), isLast: parts.isLast };
          at = end + 1;
        }
        position += whole;
      }
    }
  }

  close(): void {
    for (const { fd } of this.#segments.splice(0)) closeSync(fd);
  }
}
