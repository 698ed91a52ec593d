/** A terminal as a screen that is drawn again and again, by the control sequences that xterm and all its like have. */
import type { ReadStream, WriteStream } from "node:tty";

/** The other screen, so that what stood in the terminal is there again at the end; no cursor; lines that do not wrap. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

export class Screen {
  readonly #input: ReadStream;
  readonly #output: WriteStream;
  #isClosed = false;
  readonly #close = (): void => this.close();

  /** Takes the terminal: keys come one by one, unseen. */
  constructor(input: ReadStream, output: WriteStream) {
    this.#input = input;
    this.#output = output;
    // However the process ends, but for SIGKILL.
    process.on("exit", this.#close);
    input.setRawMode(true);
    input.setEncoding("utf8");
    output.write(ENTER);
  }

  onKey(take: (key: string) => void): void {
    this.#input.on("data", (keys: string) => {
      for (const key of keys) take(key);
    });
  }

  /** The terminal has gone. */
  onEnd(take: () => void): void {
    this.#input.on("end", take).on("error", take);
    this.#output.on("error", take);
  }

  onResize(take: () => void): void {
    this.#output.on("resize", take);
  }

  /** Lines that are too many or too long are cut off; they hold no control characters. */
  draw(lines: readonly string[]): void {
    const { columns = 80, rows = 24 } = this.#output;
    const text = lines
      .slice(0, rows)
      .map((line) => `${cut(line, columns)}${CLEAR_LINE}`)
      .join("\r\n");
    this.#output.write(`${HOME}${text}${CLEAR_BELOW}`);
  }

  /** Gives the terminal back as it was. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    process.off("exit", this.#close);
    this.#output.write(LEAVE);
    this.#input.setRawMode(false);
    this.#input.pause();
  }
}

/** What of a line fits. */
function cut(line: string, columns: number): string {
  const characters = [...line];
  return characters.length <= columns ? line : characters.slice(0, columns).join("");
}
