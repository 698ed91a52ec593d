/** Messages on a socket between the process that hosts a tap and its keeper: JSON, one a line. */

export class MessageLines<Message> {
  #rest = "";

  /** The messages that a piece of the stream completes. Throws SyntaxError for what is no JSON. */
  take(piece: string): Message[] {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop() ?? "";
    return lines.map((line) => JSON.parse(line) as Message);
  }

  static line(message: unknown): string {
    return `${JSON.stringify(message)}\n`;
  }
}
