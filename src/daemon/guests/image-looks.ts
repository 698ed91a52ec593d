/**
 * What becomes of the files that images lie in: whether they are there, which file it is, and whether it is still being
 * written by whoever copies it. Of what lies on storage that may stall nothing is asked, as it might never answer.
 */
import { stat } from "node:fs/promises";
import { storageNow } from "../../images/remote.js";
import { parseImage } from "../image-name.js";

/** What is at a path. */
export interface ImageLook {
  /** The same for as long as it is the same file, wherever it is moved; "" if there is none. */
  readonly id: string;
  /** Bytes; 0 of a device. */
  readonly size: number;
  /** Another one after each change of its bytes, owner or mode. */
  readonly stamp: string;
}

const MISSING: ImageLook = { id: "", size: 0, stamp: "" };

interface Looked {
  readonly now: ImageLook;
  readonly before: ImageLook | undefined;
}

export class ImageLooks {
  readonly #looks = new Map<string, Looked>();

  /** Looks at all these images once more, and forgets the others. */
  async look(images: Iterable<string>): Promise<void> {
    const paths = new Set([...images].map(pathOf));
    for (const path of this.#looks.keys()) if (!paths.has(path)) this.#looks.delete(path);
    const isRemote = storageNow();
    await Promise.all([...paths].map((path) => this.#look(path, isRemote)));
  }

  /** Looks at those of these images that have not been looked at. */
  async add(images: Iterable<string>): Promise<void> {
    const paths = new Set([...images].map(pathOf));
    const isRemote = storageNow();
    await Promise.all([...paths].map((path) => this.#looks.has(path) || this.#look(path, isRemote)));
  }

  /** As of the last look; undefined: nothing is known, as it lies on storage that may stall. */
  at(image: string): ImageLook | undefined {
    return this.#looks.get(pathOf(image))?.now;
  }

  /** Whether the last two looks found the same. */
  isSettled(image: string): boolean {
    const looked = this.#looks.get(pathOf(image));
    if (looked?.before === undefined) return true;
    return looked.before.id === looked.now.id && looked.before.size === looked.now.size;
  }

  /** Whether nobody wrote to it between the last two looks. */
  isQuiet(image: string): boolean {
    const looked = this.#looks.get(pathOf(image));
    return (
      this.isSettled(image) && (looked?.before === undefined || looked.before.stamp === looked.now.stamp)
    );
  }

  async #look(path: string, isRemote: (path: string) => boolean): Promise<void> {
    if (isRemote(path)) {
      this.#looks.delete(path);
      return;
    }
    const before = this.#looks.get(path)?.now;
    this.#looks.set(path, { now: await lookAt(path), before });
  }
}

/** What is at a local path now. */
export async function lookAt(path: string): Promise<ImageLook> {
  try {
    const { dev, ino, birthtimeMs, size, mtimeMs, ctimeMs, rdev } = await stat(path);
    // The time of its birth, as a file system gives an inode's number to another file soon.
    return { id: `${dev}:${ino}:${birthtimeMs}:${rdev}`, size, stamp: `${mtimeMs}:${ctimeMs}` };
  } catch {
    return MISSING;
  }
}

function pathOf(image: string): string {
  return parseImage(image).path;
}
