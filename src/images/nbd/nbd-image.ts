/** A disk that an NBD server offers, as an image: whoever reads waits until a thread has the server's answer. */
import { Worker } from "node:worker_threads";
import type { Image, Service } from "../image.js";
import { ImageError, NoAnswerError } from "../image-error.js";
import type { LinkData } from "./link-thread.js";
import { DEADLINE, LARGEST_READ, LATE, Mailbox, Result, State } from "./mailbox.js";
import { parseNbdUrl } from "./url.js";

/** ms after which the thread is not waited for either. */
const PATIENCE = DEADLINE + 1000;

/** Bytes that cannot be had from a server; `code` as Node's own errors have it. */
class NbdReadError extends Error {
  readonly code = "EIO";
}

/** This thread's images, by URL: the server sees one connection however often one is opened. */
const images = new Map<string, NbdImage>();

/**
 * Opens what an NBD URL names, for reading. Throws ImageError: if the server is not there, does not answer for 10 s, or
 * does not have it.
 */
export function openNbdImage(url: string): Image {
  const known = images.get(url);
  if (known === undefined) {
    const opened = new NbdImage(url);
    images.set(url, opened);
    return opened;
  }
  known.requireAnswering();
  known.users++;
  return known;
}

class NbdImage implements Image, Service {
  readonly name: string;
  readonly file: string | undefined;
  users = 1;
  readonly #mailbox = new Mailbox();
  readonly #worker: Worker;

  constructor(url: string) {
    this.name = url;
    const address = parseNbdUrl(url);
    this.file = address.file;
    const mailbox = this.#mailbox;
    this.#worker = new Worker(new URL("./link-thread.js", import.meta.url), {
      workerData: { shared: mailbox.shared, address } satisfies LinkData,
    });
    // Told in the mailbox, too, or found out by waiting.
    this.#worker.on("error", () => {});
    this.#worker.unref();
    mailbox.waitForOpening(PATIENCE);
    try {
      this.requireAnswering();
      if (mailbox.size === 0) throw new ImageError(url, "the disk is empty (0 bytes); name another export");
    } catch (error) {
      void this.#worker.terminate();
      throw error;
    }
  }

  /** As the server said when it was connected to last. */
  get size(): number {
    return this.#mailbox.size;
  }

  get service(): Service {
    return this;
  }

  get isAnswering(): boolean {
    return this.#mailbox.state === State.ANSWERING;
  }

  get outages(): number {
    return this.#mailbox.outages;
  }

  get trouble(): string {
    return this.#mailbox.text;
  }

  /** Throws ImageError. */
  requireAnswering(): void {
    const mailbox = this.#mailbox;
    if (mailbox.state === State.ANSWERING) return;
    if (mailbox.state === State.OPENING || mailbox.text === LATE)
      throw new NoAnswerError(
        this.name,
        mailbox.state === State.OPENING
          ? "the NBD server does not answer; check whether it hangs"
          : mailbox.text,
      );
    throw new ImageError(this.name, mailbox.text);
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    const mailbox = this.#mailbox;
    let done = 0;
    while (done < length) {
      const part = Math.min(length - done, LARGEST_READ, mailbox.size - position - done);
      if (!(part > 0)) break;
      const count = this.#ask(position + done, part);
      mailbox.window.copy(target, targetOffset + done, 0, count);
      done += count;
      if (count === 0) break;
    }
    return done;
  }

  close(): void {
    if (--this.users > 0) return;
    images.delete(this.name);
    void this.#worker.terminate();
  }

  #ask(position: number, length: number): number {
    const mailbox = this.#mailbox;
    if (mailbox.state === State.ANSWERING) {
      const result = mailbox.ask(position, length, PATIENCE);
      if (result >= 0) return result;
      if (result === Result.LATE) {
        mailbox.addOutage();
        mailbox.setState(State.SILENT);
      }
    }
    throw new NbdReadError(mailbox.text);
  }
}
