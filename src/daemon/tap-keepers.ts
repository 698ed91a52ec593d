/**
 * Those who keep the process that hosts a tap: the one that has started it, by Node's channel, and one that takes its
 * place, by a socket. For a moment there are both. With the last one the process ends.
 */
import { once } from "node:events";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { MessageLines } from "./tap-lines.js";
import type { FromTapProcess, ToTapProcess } from "./tap-process-messages.js";

/** Tells a keeper something; `then` is called when it has been sent, or cannot be. */
export type TellKeeper = (message: FromTapProcess, then?: () => void) => void;

export interface KeepersOptions {
  /** A keeper has said something: it is answered by `tell`. */
  readonly take: (message: ToTapProcess, tell: TellKeeper) => void;
  /** The last one has gone. */
  readonly left: () => void;
}

export class Keepers {
  readonly #options: KeepersOptions;
  /** The first is in charge. */
  readonly #keepers: TellKeeper[] = [];
  #waiting: { readonly server: Server; readonly path: string } | undefined;

  /** Begins with the process that has started this one. */
  constructor(options: KeepersOptions) {
    this.#options = options;
    const tell: TellKeeper = (message, then = () => {}) => {
      if (process.connected) process.send?.(message, then);
      else then();
    };
    this.#keepers.push(tell);
    process.on("message", (message: ToTapProcess) => options.take(message, tell));
    process.on("disconnect", () => this.#gone(tell));
  }

  /** Tells the one in charge. */
  readonly tell: TellKeeper = (message, then = () => {}) => {
    const [first] = this.#keepers;
    if (first === undefined) then();
    else first(message, then);
  };

  /** Tells all: whoever takes over is to know it, too. */
  tellAll(message: FromTapProcess): void {
    for (const tell of this.#keepers) tell(message);
  }

  /** Lets another one come, once, to a socket; it is told `first`. Throws a system error. */
  async admit(path: string, first: FromTapProcess): Promise<void> {
    this.#stopWaiting();
    rmSync(path, { force: true });
    const server = createServer((socket) => {
      this.#stopWaiting();
      const lines = new MessageLines<ToTapProcess>();
      const tell: TellKeeper = (message, then = () => {}) => {
        if (socket.destroyed) then();
        else socket.write(MessageLines.line(message), () => then());
      };
      this.#keepers.push(tell);
      socket.setEncoding("utf8").on("data", (piece: string) => {
        for (const message of lines.take(piece)) this.#options.take(message, tell);
      });
      socket.on("error", () => {});
      socket.on("close", () => this.#gone(tell));
      tell(first);
    });
    this.#waiting = { server, path };
    server.listen(path);
    await once(server, "listening");
    chmodSync(path, 0o600);
  }

  #stopWaiting(): void {
    if (this.#waiting === undefined) return;
    this.#waiting.server.close();
    rmSync(this.#waiting.path, { force: true });
    this.#waiting = undefined;
  }

  #gone(tell: TellKeeper): void {
    const at = this.#keepers.indexOf(tell);
    if (at < 0) return;
    this.#keepers.splice(at, 1);
    if (this.#keepers.length === 0) this.#options.left();
  }
}
