/** What was written to one file, and the event that tells of it. */
import type { FileEvent, Names } from "./file-event.js";

/** Bytes of one file that were written, of one batch. */
export interface Written {
  readonly ino: number;
  readonly generation: number;
  /** Offsets and lengths, in order and apart. */
  readonly ranges: readonly (readonly [number, number])[];
  /** Of the file's last write: its number in the stream, and the host's clock, ms since 1970. */
  readonly sequence: number;
  readonly time: number;
}

/** The event of it; undefined if the file is known to be no more. Without `names` its path is left out. */
export function writtenEvent(written: Written, names: Names | undefined): FileEvent | undefined {
  const { ino, generation } = written;
  const state = names?.state(ino);
  if (names !== undefined && state?.generation !== generation) return undefined;
  const [place] = names?.names(ino) ?? [];
  return {
    kind: "written",
    ino,
    old: undefined,
    now: state,
    directory: place?.directory ?? 0,
    name: place?.name,
    path: names?.path(ino),
    fromDirectory: 0,
    from: undefined,
    range: undefined,
    written,
    attributes: undefined,
    target: undefined,
    scopes: place === undefined ? [] : (names?.ancestors(place.directory) ?? []),
  };
}
