/** Bytes from a client, as many at a time as are asked for. Takes no more from the client than is being read. */
import type { Socket } from "node:net";

/** Bytes that may lie here unread. */
const ROOM = 256 << 10;

export class Input {
  /** Settles when nothing more is taken from the client. */
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  /** Bytes in `#chunks` that are not yet read, and where the first chunk's begin. */
  #waiting = 0;
  #from = 0;
  #isEnded = false;
  #onEnd: () => void = () => {};
  #wake: (() => void) | undefined;
  /** When the last bytes came, by performance.now(), if some are being waited for; else undefined. */
  #starvingSince: number | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.ended = new Promise((resolve) => {
      this.#onEnd = resolve;
    });
    socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#waiting += chunk.length;
      if (this.#waiting > ROOM) socket.pause();
      this.#wakeUp();
    });
    socket.on("end", () => this.end());
    socket.on("close", () => this.end());
  }

  /** Nothing more is taken from the client than is here. */
  end(): void {
    this.#isEnded = true;
    this.#onEnd();
    this.#wakeUp();
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** ms for which the client has let a request of its own wait unfinished; 0 if it is not its turn. */
  get stalled(): number {
    return this.#starvingSince === undefined ? 0 : performance.now() - this.#starvingSince;
  }

  /** Fills `target` from `at` on with `length` bytes. False if the client ended before. */
  async fill(target: Buffer, at: number, length: number): Promise<boolean> {
    for (let done = 0; done < length; ) {
      if (this.#waiting === 0 && !(await this.#more())) return false;
      const chunk = this.#chunks[0]!;
      const count = Math.min(length - done, chunk.length - this.#from);
      chunk.copy(target, at + done, this.#from, this.#from + count);
      this.#take(chunk, count);
      done += count;
    }
    return true;
  }

  /** Passes over `length` bytes without keeping them. False if the client ended before. */
  async skip(length: number): Promise<boolean> {
    for (let left = length; left > 0; ) {
      if (this.#waiting === 0 && !(await this.#more())) return false;
      const chunk = this.#chunks[0]!;
      const count = Math.min(left, chunk.length - this.#from);
      this.#take(chunk, count);
      left -= count;
    }
    return true;
  }

  #take(chunk: Buffer, count: number): void {
    this.#from += count;
    this.#waiting -= count;
    if (this.#from === chunk.length) {
      this.#chunks.shift();
      this.#from = 0;
    }
  }

  async #more(): Promise<boolean> {
    this.#starvingSince = performance.now();
    while (this.#waiting === 0 && !this.#isEnded) {
      this.#socket.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#starvingSince = undefined;
    return this.#waiting > 0;
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
