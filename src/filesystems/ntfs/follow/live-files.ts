/**
 * Bytes of files, read by what their records say at that moment, whatever version is shown of all else: a version that is
 * some milliseconds old names clusters that can have been given to another file. After the bytes have been read, the
 * records are looked at again: if they have changed, the bytes do not count, and are read anew.
 */
import { EIO, IoError } from "../../../images/io-error.js";
import { Errno, FileSystemError, FileType } from "../../filesystem.js";
import type { Geometry } from "../boot-sector.js";
import type { FileBytes } from "../content.js";
import { Inode } from "../inode.js";
import { Parts } from "../parts.js";
import { Notes, type PlaceView } from "./place-view.js";

/** Files whose runs are kept at hand. */
const MOST_OPEN = 64;
/** How often one request reads what changes meanwhile. */
const MOST_TRIES = 50;

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

  constructor(geometry: Geometry, view: PlaceView) {
    this.#view = view;
    this.#parts = new Parts(geometry, view, () => {}, { ignoresCase: false });
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
      const { bytes } = file;
      const there = Math.max(0, Math.min(length, bytes.size - position));
      if (this.#holds(ino, file, tries, () => there > 0 && bytes.read(position, there, target, targetOffset)))
        return there;
    }
  }

  /** See FileSystem.seek. */
  seek(ino: number, generation: number, position: number, hole: boolean): number {
    for (let tries = 0; ; tries++) {
      const file = this.#file(ino, generation, tries);
      const { bytes } = file;
      if (position >= bytes.size) return -1;
      let found = -1;
      const isGood = this.#holds(ino, file, tries, () => {
        found = bytes.seek(position, hole);
      });
      if (isGood) return found >= bytes.size && !hole ? -1 : found;
    }
  }

  /** Does what reads a file; false: the file has changed, and is to be opened again. */
  #holds(ino: number, file: LiveFile, tries: number, action: () => void): boolean {
    const view = this.#view;
    let problem: IoError | undefined;
    view.notes = file.notes;
    try {
      action();
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      problem = error;
    } finally {
      view.notes = undefined;
    }
    if (file.notes.isSame(view.source)) {
      if (problem !== undefined) throw problem;
      return true;
    }
    this.#open.delete(ino);
    if (tries >= MOST_TRIES)
      throw problem ?? new IoError(EIO, `inode ${ino} changes faster than it can be read`);
    return false;
  }

  #file(ino: number, generation: number, tries: number): LiveFile {
    let file = this.#open.get(ino);
    if (file?.generation === generation) {
      this.#open.delete(ino);
      this.#open.set(ino, file);
      return file;
    }
    for (let more = tries; file === undefined || file.generation !== generation; more++) {
      try {
        file = this.#enter(ino, generation);
      } catch (error) {
        // It can be half written.
        if (!(error instanceof IoError) || error instanceof FileSystemError || more >= MOST_TRIES)
          throw error;
        this.#parts.mft.forget();
      }
    }
    const [oldest] = this.#open.keys();
    if (this.#open.size >= MOST_OPEN && oldest !== undefined) this.#open.delete(oldest);
    this.#open.set(ino, file);
    return file;
  }

  #enter(ino: number, generation: number): LiveFile {
    const view = this.#view;
    // Where the records lie is no part of what is noted.
    void this.#parts.mft.parts;
    const notes = new Notes();
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
