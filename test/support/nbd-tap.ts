/** `slashcloud tap` as a user starts it, and nbdfuse, which shows its disk to the kernel as a file. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { endWithTests, onEnd } from "./images-mount.js";
import { main } from "./images-serve.js";

/** How long something may take to begin or to end, ms. */
const LIMIT = 90_000;

/** A tap that serves. */
export interface TapProcess {
  /** NBD URLs, in the order of disks and places. */
  readonly urls: readonly string[];
  readonly pid: number;
  /** What it wrote to its error output so far. */
  log(): string;
  /** SIGTERM; returns the exit code. */
  stop(): Promise<number>;
}

const ended = (child: ChildProcess): Promise<number> =>
  new Promise((resolve) => child.on("close", (code) => resolve(code ?? -1)));

/** Starts a tap and waits until it serves `places` URLs. */
export async function startTap(args: readonly string[], places = 1): Promise<TapProcess> {
  const child = spawn(process.execPath, [main, "tap", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  endWithTests(child);
  const end = ended(child);
  let output = "";
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log += text;
  });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const urls = () => [...output.matchAll(/^slashcloud: serving (.*)$/gm)].map(([, url]) => url!);
  await until(() => urls().length >= places || child.exitCode !== null, "the tap does not serve");
  if (child.exitCode !== null) throw new Error(`slashcloud tap ended: ${log}`);
  return {
    urls: urls(),
    pid: child.pid!,
    log: () => log,
    stop: () => {
      child.kill("SIGTERM");
      return end;
    },
  };
}

/** Waits until something is so. */
export async function until(isSo: () => boolean | Promise<boolean>, otherwise: string): Promise<void> {
  for (const start = performance.now(); !(await isSo()); await sleep(20)) {
    if (performance.now() - start > LIMIT) throw new Error(otherwise);
  }
}

/** An export as the file `nbd` in `folder`. The function returned takes it away, when all is written. */
export async function nbdfuse(
  url: string,
  folder: string,
): Promise<{ file: string; end: () => Promise<void> }> {
  mkdirSync(folder, { recursive: true });
  // One connection, as a guest has it.
  const child = spawn("nbdfuse", ["-C", "1", folder, url], { stdio: ["ignore", "ignore", "inherit"] });
  const end = ended(child);
  const unmount = onEnd(() => execFileSync("fusermount3", ["-u", "-z", folder], { stdio: "pipe" }));
  endWithTests(child);
  const file = join(folder, "nbd");
  await until(() => existsSync(file) || child.exitCode !== null, "nbdfuse does not mount");
  return {
    file,
    end: async () => {
      unmount();
      await end;
    },
  };
}
