/** `slashcloud up --config` as a user starts it, and what its tree and its status have. */
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { host, main, type Served, serve } from "./images-serve.js";

/** What `status --json` says of the guests. */
interface GuestsStatus {
  readonly guests: string[];
  readonly unavailable: { guest: string; reason: string }[];
}

export class Configured {
  readonly folder: string;
  readonly file: string;
  #served: Served | undefined;

  constructor(folder: string) {
    this.folder = folder;
    this.file = join(folder, "slashcloud.yaml");
  }

  get served(): Served {
    if (this.#served === undefined) throw new Error("it has not been started");
    return this.#served;
  }

  /** Writes the configuration. */
  write(text: string): void {
    writeFileSync(this.file, text);
  }

  async start(options: readonly string[] = []): Promise<void> {
    this.#served = await serve(join(this.folder, "cloud"), {}, [...options, "--config", this.file]);
  }

  stop(): Promise<number> {
    return this.served.stop();
  }

  /** Runs a command that asks the daemon. */
  command(...args: string[]): { status: number | null; stdout: string; stderr: string } {
    const state = ["--state", `${this.served.mountPoint}-state`];
    return spawnSync(process.execPath, [main, ...args, ...state], { encoding: "utf8" });
  }

  /** The guests in the tree. */
  guests(): string[] {
    return readdirSync(join(this.served.mountPoint, host)).sort();
  }

  /** Why guests are not shown, by their names. */
  unavailable(): Record<string, string> {
    const { stdout } = this.command("status", "--json");
    const { unavailable } = JSON.parse(stdout) as GuestsStatus;
    return Object.fromEntries(unavailable.map(({ guest, reason }) => [guest, reason]));
  }

  /** Waits for the tree to have just these guests. */
  shows(...guests: string[]): Promise<void> {
    return eventually(
      () => this.guests().join() === guests.sort().join(),
      () => {
        return `the guests are ${this.guests()}, not ${guests}\n${this.served.log()}`;
      },
    );
  }
}

/** Waits until something is so. */
export async function eventually(isSo: () => boolean, why: () => string, limit = 90_000): Promise<void> {
  const until = performance.now() + limit;
  while (!isSo()) {
    if (performance.now() > until) throw new Error(why());
    await sleep(50);
  }
}

/** Makes an ext4 image that has one file, /name, with its own name in it. */
export function makeImage(path: string, name: string): string {
  execFileSync("truncate", ["-s", "8M", path]);
  execFileSync("mke2fs", ["-q", "-F", "-t", "ext4", path]);
  execFileSync("debugfs", ["-w", "-f", "-", path], {
    input: `write /dev/stdin name\n`.replace("/dev/stdin", nameFile(path, name)),
    stdio: ["pipe", "ignore", "ignore"],
  });
  return path;
}

function nameFile(path: string, name: string): string {
  const file = `${path}.name`;
  writeFileSync(file, `${name}\n`);
  return file;
}
