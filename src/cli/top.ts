/** `slashcloud top`: which guests are busy, live on a terminal. */
import { type DaemonStatus, readStatus } from "../daemon/read-status.js";
import { stateDirectoryFor } from "../daemon/state-directory.js";
import { UserError } from "../daemon/user-error.js";
import { write } from "./output.js";
import { Screen } from "./screen.js";
import { isTopOrder, type TopOrder, topLines } from "./top-text.js";

export interface TopOptions {
  readonly mount: string;
  readonly state?: string;
  readonly sort: TopOrder;
  /** Seconds between looks. */
  readonly interval: number;
}

/** Keys that choose an order. */
const ORDERS: Readonly<Record<string, string>> = { e: "events", w: "written", l: "lag", n: "name" };
const CTRL_C = "\x03";
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Shows the guests until `q`, or once if there is no terminal. Returns the exit code. Throws UserError. */
export async function top({ mount, state: named, sort, interval }: TopOptions): Promise<number> {
  const state = stateDirectoryFor(mount, named);
  // Without a daemon it ends before it takes the terminal.
  const first = await readStatus(state);
  if (!process.stdout.isTTY || !process.stdin.isTTY) {
    write(`${topLines(first, sort).join("\n")}\n`);
    return 0;
  }
  const screen = new Screen(process.stdin, process.stdout);
  try {
    await new Live(screen, state, sort, interval * 1000).run(first);
  } finally {
    screen.close();
  }
  // A daemon that hangs is not waited for.
  process.exit(0);
}

class Live {
  readonly #screen: Screen;
  readonly #state: string;
  readonly #interval: number;
  #order: TopOrder;
  #shown: DaemonStatus | undefined;
  /** Why what is shown is not current. */
  #problem = "";

  constructor(screen: Screen, state: string, order: TopOrder, interval: number) {
    this.#screen = screen;
    this.#state = state;
    this.#order = order;
    this.#interval = interval;
  }

  /** Resolves when it is to end. */
  async run(first: DaemonStatus): Promise<void> {
    this.#shown = first;
    this.#draw();
    let timer: NodeJS.Timeout | undefined;
    let isEnding = false;
    const look = async (): Promise<void> => {
      try {
        this.#shown = await readStatus(this.#state);
        this.#problem = "";
      } catch (error) {
        // Another one may be about to take its place.
        if (!(error instanceof UserError)) throw error;
        this.#problem = error.message;
      }
      if (isEnding) return;
      this.#draw();
      timer = setTimeout(() => void look(), this.#interval);
    };
    timer = setTimeout(() => void look(), this.#interval);
    await new Promise<void>((resolve) => {
      for (const signal of SIGNALS) process.once(signal, () => resolve());
      this.#screen.onResize(() => this.#draw());
      this.#screen.onEnd(resolve);
      this.#screen.onKey((key) => {
        const order = ORDERS[key];
        if (key === "q" || key === "Q" || key === CTRL_C) resolve();
        else if (order !== undefined && isTopOrder(order)) {
          this.#order = order;
          this.#draw();
        }
      });
    });
    isEnding = true;
    clearTimeout(timer);
  }

  #draw(): void {
    if (this.#shown === undefined) return;
    const keys = "e events  w written  l lag  n name  q quit";
    this.#screen.draw([
      ...topLines(this.#shown, this.#order),
      "",
      this.#problem === "" ? keys : `${this.#problem}  (q quit)`,
    ]);
  }
}
