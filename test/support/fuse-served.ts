/** Runs fuse-host in a process of its own, as a daemon would be, and cleans up after it whatever happens. */
import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { HostOptions, Order } from "./fuse-host.js";

const ROOT = resolve(import.meta.dirname, "../..");
/** What compiles the host: the project's settings, given here, as only these files are wanted. */
const COMPILER = [
  "--ignoreConfig",
  ...["--target", "es2023", "--lib", "es2023", "--module", "nodenext", "--types", "node"],
  ...["--strict", "--skipLibCheck", "--verbatimModuleSyntax", "--rootDir", ROOT],
];

/** A process of the host, ready and serving, or ended. */
export interface Served {
  readonly path: string;
  readonly pid: number;
  /** Resolves when it serves. */
  readonly ready: Promise<undefined>;
  /** What it has written to standard error so far. */
  log(): string;
  /** Gives an order and returns the answer. */
  order<T>(order: Order): Promise<T>;
  /** Unmounts with umount(8) and waits for the process to end; returns its exit code. */
  stop(): Promise<number>;
  /** SIGKILL: leaves the mount dead. */
  kill(): Promise<void>;
  /** Resolves with the exit code when the process has ended by itself. */
  readonly ended: Promise<number>;
}

/** How a host is run. */
export interface RunOptions extends Partial<HostOptions> {
  /** The mount point; a new directory unless given. */
  path?: string;
  /** What goes before `node` on the command line: setpriv, unshare. */
  prefix?: string[];
  env?: Record<string, string>;
  /** Runs it where no npm package is installed. */
  withoutPackages?: boolean;
}

/** Everything of one test file: compiled once, and gone at the end. */
export class FuseTests {
  /** A directory for the tests' own files, readable by every user. */
  readonly directory = mkdtempSync(join(tmpdir(), "slashcloud-fuse-"));
  readonly #built = join(this.directory, "built");
  readonly #served = new Set<Served>();
  #points = 0;

  constructor() {
    chmodSync(this.directory, 0o755);
    mkdirSync(this.#built);
    writeFileSync(join(this.#built, "package.json"), '{"type":"module"}');
    symlinkSync(join(ROOT, "node_modules"), join(this.#built, "node_modules"));
    const sources = ["fuse-host.ts", "fuse-worker.ts"].map((name) => join(import.meta.dirname, name));
    execFileSync(join(ROOT, "node_modules/.bin/tsc"), [...COMPILER, "--outDir", this.#built, ...sources], {
      cwd: ROOT,
      stdio: "inherit",
    });
    process.on("exit", this.#cleanUp);
  }

  /** A new, empty directory. */
  mountPoint(): string {
    const path = join(this.directory, `mount-${this.#points++}`);
    mkdirSync(path);
    return path;
  }

  /** Starts a host; resolves when it is serving, or with an exit code if it ended without. */
  async start(options: RunOptions = {}): Promise<Served | number> {
    const { path = this.mountPoint(), prefix = [], env = {}, withoutPackages, ...given } = options;
    const host: HostOptions = {
      driver: "kernel",
      timeout: 1000,
      longTimeouts: false,
      unserved: false,
      ...given,
    };
    const script = join(withoutPackages ? this.#bare() : this.#built, "test/support/fuse-host.js");
    const [command, ...args] = [...prefix, process.execPath, script, path, JSON.stringify(host)];
    const child = spawn(command as string, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    const served = serve(child, path);
    this.#served.add(served);
    const code = await Promise.race([served.ready, served.ended]);
    if (code === undefined) return served;
    this.#served.delete(served);
    this.lastLog = served.log();
    return code;
  }

  /** A copy of the compiled host without packages. */
  #bare(): string {
    const bare = join(this.directory, "bare");
    cpSync(this.#built, bare, { recursive: true, filter: (path) => !path.endsWith("node_modules") });
    return bare;
  }

  /** What a host that did not come to serve has said. */
  lastLog = "";

  /** Starts a host that is expected to serve. */
  async serve(options: RunOptions = {}): Promise<Served> {
    const served = await this.start(options);
    if (typeof served === "number") throw new Error(`the host ended with ${served}: ${this.lastLog}`);
    return served;
  }

  /** Ends and unmounts everything; to be called after all tests. */
  end(): void {
    this.#cleanUp();
    process.off("exit", this.#cleanUp);
  }

  readonly #cleanUp = (): void => {
    for (const served of this.#served) {
      try {
        process.kill(served.pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
    this.#served.clear();
    const mounts = spawnSync("findmnt", ["-rno", "TARGET"], { encoding: "utf8" }).stdout.split("\n");
    for (const path of mounts) {
      if (path.startsWith(`${this.directory}/`)) spawnSync("umount", ["-l", "--", path]);
    }
    rmSync(this.directory, { recursive: true, force: true });
  };
}

function serve(child: ChildProcessByStdio<Writable, Readable, Readable>, path: string): Served {
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log += text;
  });
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift()?.(line));
  const ready = new Promise<undefined>((resolve) => waiting.push(() => resolve(undefined)));
  const ended = new Promise<number>((resolve) => {
    child.on("close", (code, signal) => resolve(code ?? (signal === null ? -1 : -2)));
  });
  return {
    path,
    pid: child.pid as number,
    ready,
    ended,
    log: () => log,
    order<T>(order: Order): Promise<T> {
      return new Promise<T>((resolve) => {
        waiting.push((line) => resolve(JSON.parse(line) as T));
        child.stdin.write(`${JSON.stringify(order)}\n`);
      });
    },
    async stop() {
      execFileSync("umount", ["--", path]);
      return ended;
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
