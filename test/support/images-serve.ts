/** `slashcloud up` as a user starts it: the built program, a mount, a signal at the end. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { onEnd, unmountNow } from "./images-mount.js";

/** The built command line; another build can be named by SLASHCLOUD_MAIN. */
export const main = process.env.SLASHCLOUD_MAIN ?? join(import.meta.dirname, "../../dist/main.js");

/** How long `up` may take until the tree answers, ms. */
const startLimit = 60_000;
/** How long it may take to end, ms. */
const endLimit = 60_000;

/** The host's name in the tree. */
export const host = "oracle";

/** A tree being served. */
export interface Served {
  readonly mountPoint: string;
  readonly pid: number;
  /** ms from the start of the program to its line that the tree answers. */
  readonly startTime: number;
  /** The folder of a guest. */
  guest(name: string): string;
  /** The folder of one volume of a guest: `sda` for an image without partitions. */
  volume(name: string, volume?: string): string;
  /** What the program wrote to its error output so far. */
  log(): string;
  /** SIGTERM; returns the exit code. */
  stop(): Promise<number>;
}

/** Starts `slashcloud up` for images by guest name and waits until the tree answers; `program` may be a copy of it. */
export async function serve(
  mountPoint: string,
  images: Readonly<Record<string, string>>,
  options: readonly string[] = [],
  program = main,
): Promise<Served> {
  if (!existsSync(main)) throw new Error(`${main} is not there: run \`npm run build\` first`);
  try {
    mkdirSync(mountPoint, { recursive: true });
  } catch (error) {
    // A mount that was left dead: the program is to replace it.
    if ((error as NodeJS.ErrnoException).code !== "ENOTCONN") throw error;
  }
  const started = performance.now();
  const guests = Object.entries(images).map(([name, image]) => `${name}=${image}`);
  const state = options.includes("--state") ? [] : ["--state", `${mountPoint}-state`];
  const child = spawn(
    process.execPath,
    [program, "up", "--mount", mountPoint, "--host", host, ...state, ...options, ...guests],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const forget = onEnd(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    try {
      unmountNow(mountPoint);
    } catch {
      // Not mounted (any more): nothing to undo.
    }
  });
  let output = "";
  let log = "";
  const ended = new Promise<number>((resolve) => {
    child.on("close", (code) => resolve(code ?? -1));
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log = (log + text).slice(-1_000_000);
  });
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer);
      forget();
      reject(new Error(`slashcloud up ${why}\n${output}${log}`));
    };
    const timer = setTimeout(() => fail(`did not answer within ${startLimit} ms`), startLimit);
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (/^slashcloud: serving /m.test(output)) {
        clearTimeout(timer);
        resolve();
      }
    });
    void ended.then((code) => fail(`ended with ${code}`));
  });
  const startTime = performance.now() - started;
  return {
    mountPoint,
    pid: child.pid!,
    startTime,
    guest: (name) => join(mountPoint, host, name),
    volume: (name, volume = "sda") => join(mountPoint, host, name, ".volumes", volume),
    log: () => log,
    stop: async () => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), endLimit);
      const code = await ended;
      clearTimeout(timer);
      forget();
      return code;
    },
  };
}
