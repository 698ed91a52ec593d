/**
 * The disks of other formats than raw, while a tree is served: for each a qemu-nbd, which is started again when it dies.
 * For the process that may start programs, which no server does (see asking.ts). While it is served, such a disk is locked
 * against those who would write to it: QEMU does not start a guest with it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../images/image.js";
import { isRemote } from "../images/remote.js";
import { formatOf, parseImage } from "./image-name.js";
import { type ConvertedDisk, convertedDisk, QEMU_NBD, qemuNbdArguments, refusal, urlOf } from "./qemu-nbd.js";

/** ms that qemu-nbd may take until it serves. */
const PATIENCE = 10_000;
/** ms between looks whether it does. */
const LOOK_EVERY = 10;
/** ms until it is started again: at first and at most; each time twice as long. */
const RETRY = 500;
const LONGEST_RETRY = 30_000;
/** Bytes of what it says that are kept. */
const MOST_SAID = 4096;

export class ConvertedDisks {
  readonly #log: Log;
  readonly #servers = new Map<string, { readonly server: DiskServer; readonly url: string }>();
  /** Lines that have been logged of an image's format: once is enough. */
  readonly #said = new Set<string>();
  #folder: string | undefined;
  #disks = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Where a disk can be read: its path, or the NBD URL of a qemu-nbd, which is started if none runs for it under this key.
   * Throws ImageError for a disk that cannot be offered; what lies on storage that may stall is tried until it can be.
   */
  async open(key: string, image: string): Promise<string> {
    const running = this.#servers.get(key);
    if (running !== undefined) return running.url;
    const name = parseImage(image);
    const format = formatOf(name, (line) => {
      if (!this.#said.has(line)) this.#log(line);
      this.#said.add(line);
    });
    if (format === "raw") return name.path;
    this.#folder ??= mkdtempSync(join(tmpdir(), "slashcloud-disks-"));
    const disk = convertedDisk(name.path, format, this.#folder, this.#disks++);
    const server = new DiskServer(disk, this.#log);
    if (server.isRemote) void server.keepStarting();
    else await server.start();
    const url = urlOf(disk);
    this.#servers.set(key, { server, url });
    return url;
  }

  /** Ends all but these. */
  keep(keys: ReadonlySet<string>): void {
    for (const [key, { server }] of this.#servers) {
      if (keys.has(key)) continue;
      this.#servers.delete(key);
      server.stop();
    }
  }

  stop(): void {
    this.keep(new Set());
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }
}

class DiskServer {
  /** Whether the disk lies on storage that may stall. */
  readonly isRemote: boolean;
  readonly #disk: ConvertedDisk;
  readonly #log: Log;
  #child: ChildProcess | undefined;
  #said = "";
  #isStopped = false;

  constructor(disk: ConvertedDisk, log: Log) {
    this.isRemote = isRemote(disk.path);
    this.#disk = disk;
    this.#log = log;
  }

  /** Starts it; done when it serves. Throws ImageError. */
  async start(): Promise<void> {
    const { socket, pidFile } = this.#disk;
    for (const file of [socket, pidFile]) rmSync(file, { force: true });
    this.#said = "";
    // It dies with this process, however that ends.
    const wrapped = ["--pdeathsig", "TERM", "--", QEMU_NBD, "--persistent", ...qemuNbdArguments(this.#disk)];
    const child = spawn("setpriv", wrapped, { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#said = (this.#said + text).slice(0, MOST_SAID);
    });
    let end: string | undefined;
    child.on("error", ({ message }) => {
      end = message;
    });
    child.on("close", (code, signal) => {
      end = signal ?? `exit code ${code}`;
    });
    for (const begun = performance.now(); !existsSync(pidFile); await sleep(LOOK_EVERY)) {
      if (end === undefined && performance.now() - begun < PATIENCE) continue;
      this.#child = undefined;
      child.kill("SIGKILL");
      // What setpriv says of a program that is not there.
      const code =
        /No such file or directory/.test(this.#said) && /setpriv/.test(this.#said) ? "ENOENT" : end;
      throw refusal(this.#disk, code ?? "it does not answer", this.#said);
    }
    child.on("close", () => {
      if (this.#isStopped) return;
      this.#log(`${this.#disk.path}: ${QEMU_NBD} died (${end}) and is started again`);
      void sleep(RETRY, undefined, { ref: false }).then(() => this.keepStarting());
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#child?.kill("SIGTERM");
  }

  /** Starts it again and again until it runs, or is stopped. */
  async keepStarting(): Promise<void> {
    let problem = "";
    for (let wait = RETRY; !this.#isStopped; wait = Math.min(LONGEST_RETRY, wait * 2)) {
      try {
        await this.start();
        if (this.#isStopped) this.stop();
        return;
      } catch (error) {
        const { message } = error as Error;
        if (message !== problem) this.#log(message);
        problem = message;
      }
      await sleep(wait, undefined, { ref: false });
    }
  }
}
