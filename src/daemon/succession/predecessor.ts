/** The daemon whose place this process takes, and which goes on if that does not succeed. */
import { UserError } from "../user-error.js";
import { FORM, type FromSuccessor, type HandedOver, type ToSuccessor } from "./handed-over.js";
import { PREDECESSOR } from "./successor.js";

export class Predecessor {
  readonly handed: HandedOver;
  readonly #heard: Heard;

  constructor(handed: HandedOver, heard: Heard) {
    this.handed = handed;
    this.#heard = heard;
  }

  /** All that is to be shown is open. Resolves when nobody serves the mount any more. Rejects with UserError. */
  async ready(): Promise<void> {
    tell({ kind: "opened" });
    await this.#heard.next("serve");
  }

  /**
   * The tree answers. Resolves when this process is the daemon; `end` is called when it is to end, as it is kept by the one
   * before, and that has been killed.
   */
  async serving(end: () => void): Promise<void> {
    tell({ kind: "serving" });
    // Whatever becomes of it now, the mount is this process's own.
    const told = await this.#heard.next("go on").catch(() => undefined);
    if (told?.kind === "go on" && told.isKept) {
      process.once("disconnect", end);
      process.channel?.unref();
      if (!process.connected) end();
    } else if (process.connected) process.disconnect();
  }

  /** It is not to be, for this reason. */
  refuse(message: string): void {
    tell({ kind: "refused", message }, () => {
      // As long as there is the channel, this process does not end by itself.
      if (process.connected) process.disconnect();
    });
  }
}

/** The daemon whose place this process is to take; undefined: none. Throws UserError if they do not understand each other. */
export async function findPredecessor(): Promise<Predecessor | undefined> {
  const { [PREDECESSOR]: pid } = process.env;
  delete process.env[PREDECESSOR];
  if (pid !== `${process.ppid}` || process.send === undefined) return undefined;
  const heard = new Heard();
  const told = await heard.next("hand over");
  const { handed } = told as ToSuccessor & { kind: "hand over" };
  const predecessor = new Predecessor(handed, heard);
  if (handed.form === FORM) return predecessor;
  const message = "it is of another version; start the daemon again";
  predecessor.refuse(message);
  throw new UserError(message);
}

function tell(message: FromSuccessor, then: () => void = () => {}): void {
  if (process.connected) process.send?.(message, then);
}

/** What the other one says, for who waits for it. */
class Heard {
  readonly #said: ToSuccessor[] = [];
  #look: () => void = () => {};

  constructor() {
    process.on("message", (message: ToSuccessor) => {
      this.#said.push(message);
      this.#look();
    });
    process.on("disconnect", () => this.#look());
  }

  /** Rejects with UserError if the other one is no more. */
  next(kind: ToSuccessor["kind"]): Promise<ToSuccessor> {
    return new Promise((resolve, reject) => {
      this.#look = () => {
        const found = this.#said.find((message) => message.kind === kind);
        if (found !== undefined) resolve(found);
        else if (!process.connected) reject(new UserError("the daemon whose place is to be taken has ended"));
      };
      this.#look();
    });
  }
}
