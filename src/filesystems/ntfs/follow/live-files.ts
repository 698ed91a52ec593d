/**
 * Bytes of files, read by what their records say at that moment, whatever version is shown of all else: a version that is
 * some milliseconds old names clusters that can have been given to another file. After the bytes have been read, the
 * records are looked at again: if they have changed, the bytes do not count, and are read anew.
 */

import { EIO, IoError } from "../../../images/io-error.js";
import { Errno, EXACT, FileSystemError, FileType } from "../../filesystem.js";
import type { Geometry } from "../boot-sector.js";
import type { FileBytes } from "../content.js";
import { Inode } from "../inode.js";
import { Parts } from "../parts.js";
import { Notes, type PlaceView } from "./place-view.js";

/** Files whose runs are kept at hand. */
const MOST_OPEN = 64;
/** How often one request reads what changes meanwhile. */
const MOST_TRIES = 50;

/** Of those, how many follow each other at once where a record is half written, and how many there are then, 1 ms apart. */
const AT_ONCE = 5;
const MOST_PAUSES = 30;
/** Files that stay bad that are remembered. */
const MOST_BAD = 1000;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

interface LiveFile {
  readonly generation: number;
  readonly bytes: FileBytes;
  readonly notes: Notes;
}

export class LiveFiles {
  readonly #view: PlaceView;
  readonly #parts: Parts;
  readonly #inode: Inode;
  /** The one read last is at the end. */
  readonly #open = new Map<number, LiveFile>();
  #last = -1;
  /** What was read of the file that was opened last, and of those that were bad. */
  #read = new Notes();
  readonly #bad = new Map<number, Notes>();

  constructor(geometry: Geometry, view: PlaceView) {
    this.#view = view;
    this.#parts = new Parts(geometry, view, () => {}, EXACT);
    this.#inode = new Inode(this.#parts.mft);
  }

  /** Forgets where files lie. */
  forget(): void {
    this.#parts.forget();
    this.#open.clear();
  }

  /**
   * Reads as FileSystem.read does. `generation`: that of the file which is meant. Throws FileSystemError (ESTALE if that
   * is gone), IoError.
   */
  read(
    ino: number,
    generation: number,
    position: number,
    length: number,
    target: Buffer,
    targetOffset: number,
  ): number {
    for (let tries = 0; ; tries++) {
      const file = this.#file(ino, generation, tries);
      const there = Math.max(0, Math.min(length, file.bytes.size - position));
      let problem: IoError | undefined;
      this.#view.notes = file.notes;
      try {
        if (there > 0) file.bytes.read(position, there, target, targetOffset);
      } catch (error) {
        problem = ioError(error);
      } finally {
        this.#view.notes = undefined;
      }
      if (this.#holds(ino, file, problem, tries)) return there;
    }
  }

  /** See FileSystem.seek. */
  seek(ino: number, generation: number, position: number, hole: boolean): number {
    for (let tries = 0; ; tries++) {
      const file = this.#file(ino, generation, tries);
      const { bytes } = file;
      if (position >= bytes.size) return -1;
      let found = -1;
      let problem: IoError | undefined;
      this.#view.notes = file.notes;
      try {
        found = bytes.seek(position, hole);
      } catch (error) {
        problem = ioError(error);
      } finally {
        this.#view.notes = undefined;
      }
      if (this.#holds(ino, file, problem, tries)) return found >= bytes.size && !hole ? -1 : found;
    }
  }

  /**
   * Whether what has been read of a file counts: its records are as they were. Then throws the problem, if there was one.
   * False: it has changed, and is to be opened again.
   */
  #holds(ino: number, file: LiveFile, problem: IoError | undefined, tries: number): boolean {
    this.#read = file.notes;
    const isSame = file.notes.isSame(this.#view.source);
    if (isSame && problem === undefined) return true;
    this.#open.delete(ino);
    if (isSame && problem !== undefined) this.#wait(ino, problem, tries);
    if (tries >= MOST_TRIES)
      throw problem ?? new IoError(EIO, `inode ${ino} changes faster than it can be read`);
    return false;
  }

  #file(ino: number, generation: number, tries: number): LiveFile {
    let file = this.#open.get(ino);
    if (file?.generation === generation) {
      if (ino === this.#last) return file;
      this.#open.delete(ino);
      this.#open.set(ino, file);
      this.#last = ino;
      return file;
    }
    for (let more = tries; file === undefined || file.generation !== generation; more++) {
      try {
        file = this.#enter(ino, generation);
      } catch (error) {
        if (!(error instanceof IoError) || error instanceof FileSystemError || more >= MOST_TRIES)
          throw error;
        this.#wait(ino, error, more);
        this.#parts.mft.forget();
      }
    }
    const [oldest] = this.#open.keys();
    if (this.#open.size >= MOST_OPEN && oldest !== undefined) this.#open.delete(oldest);
    this.#open.set(ino, file);
    this.#last = ino;
    return file;
  }

  /**
   * Waits for a file whose records do not fit together: some can be half written, or not yet written, for as long as their
   * writer has to wait for its turn. Throws the problem if that has been long enough, or the file is as bad as it was then.
   */
  #wait(ino: number, problem: IoError, tries: number): void {
    if (this.#bad.get(ino)?.isSame(this.#view.source) === true) throw problem;
    if (tries >= MOST_PAUSES) {
      if (this.#bad.size >= MOST_BAD) this.#bad.clear();
      this.#bad.set(ino, this.#read);
      throw problem;
    }
    if (tries >= AT_ONCE) Atomics.wait(PAUSE, 0, 0, 1);
  }

  #enter(ino: number, generation: number): LiveFile {
    const view = this.#view;
    // Where the records lie is no part of what is noted.
    void this.#parts.mft.parts;
    const notes = new Notes();
    this.#read = notes;
    view.notes = notes;
    view.notesData = true;
    try {
      const inode = this.#inode.load(ino);
      if (inode.generation !== generation)
        throw new FileSystemError(Errno.ESTALE, `inode ${ino} is another file's`);
      const type = this.#parts.kinds.typeOf(inode);
      if (type === FileType.DIRECTORY) throw new FileSystemError(Errno.EISDIR, `inode ${ino} is a directory`);
      if (type !== FileType.REGULAR)
        throw new FileSystemError(Errno.EINVAL, `inode ${ino} is not a regular file`);
      return { generation, bytes: this.#parts.content.file(inode), notes };
    } finally {
      view.notes = undefined;
      view.notesData = false;
    }
  }
}

function ioError(error: unknown): IoError {
  if (error instanceof IoError) return error;
  throw error;
}
