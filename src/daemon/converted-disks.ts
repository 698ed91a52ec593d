/**
 * The disks of other formats than raw, while a tree is served: for each a qemu-nbd, which is started again when it dies.
 * For the process that may start programs, which no server does (see asking.ts). Such a disk is let go of when QEMU starts a
 * guest with it, and read again when that has ended. On storage that other hosts may use, where their locks are not seen, it
 * is locked instead: QEMU does not start a guest with it as long as it is served.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../images/image.js";
import type { ImageError } from "../images/image-error.js";
import { isRemote } from "../images/remote.js";
import { formatOf, parseImage } from "./image-name.js";
import { makeOwnFolder } from "./own-folders.js";
import { changedAt, type ImageUse, isWritten, QemuLocks } from "./qemu-locks.js";
import {
  type ConvertedDisk,
  convertedDisk,
  IN_USE,
  QEMU_NBD,
  qemuNbdArguments,
  refusal,
  urlOf,
} from "./qemu-nbd.js";

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
    this.#folder ??= makeOwnFolder("disks");
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

/** It writes nothing; and the other signals that end it, it passes over while it starts. */
function kill(child: ChildProcess): void {
  child.kill("SIGKILL");
}

/** Of all disks that yield. */
const locks = new QemuLocks();

class DiskServer {
  /** Whether the disk lies on storage that may stall. */
  readonly isRemote: boolean;
  readonly #disk: ConvertedDisk;
  readonly #log: Log;
  #child: ChildProcess | undefined;
  #said = "";
  #isStopped = false;
  #unwatch: () => void = () => {};

  constructor(disk: ConvertedDisk, log: Log) {
    this.isRemote = isRemote(disk.path);
    this.#disk = disk;
    this.#log = log;
  }

  /** Starts it; done when it serves. Throws ImageError. */
  async start(): Promise<void> {
    // With a lock first: QEMU itself says whether anybody writes to the image.
    let child = await this.#spawn(false);
    if (!this.isRemote) {
      // As long as it is locked.
      const changed = changedAt(this.#disk.path);
      const ended = new Promise((resolve) => child.on("close", resolve));
      kill(child);
      await ended;
      if (this.#isStopped) return;
      child = await this.#spawn(true);
      this.#unwatch = locks.watch(this.#disk.path, changed, (how) => this.#yield(child, how));
    }
    child.on("close", (code, signal) => {
      if (this.#isStopped || child !== this.#child) return;
      this.#unwatch();
      this.#log(
        `${this.#disk.path}: ${QEMU_NBD} died (${signal ?? `exit code ${code}`}) and is started again`,
      );
      void sleep(RETRY, undefined, { ref: false }).then(() => this.keepStarting());
    });
  }

  /** Leaves the disk to a program that writes to it, for as long as it does. */
  #yield(child: ChildProcess, how: ImageUse): void {
    if (this.#isStopped || child !== this.#child) return;
    const { path, format } = this.#disk;
    this.#child = undefined;
    kill(child);
    this.#log(
      how === "changed"
        ? `${path}: another program has changed this ${format} disk: it is opened afresh`
        : `${path}: a QEMU has started to use this ${format} disk, so it cannot be read past it: it is shown again when that QEMU ends`,
    );
    void this.keepStarting(this.#inUse().message);
  }

  #inUse(): ImageError {
    return refusal(this.#disk, undefined, IN_USE);
  }

  async #spawn(yields: boolean): Promise<ChildProcess> {
    const { socket, pidFile } = this.#disk;
    for (const file of [socket, pidFile]) rmSync(file, { force: true });
    this.#said = "";
    // It dies with this process, however that ends.
    const args = qemuNbdArguments(this.#disk, yields);
    const wrapped = ["--pdeathsig", "KILL", "--", QEMU_NBD, "--persistent", ...args];
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
      kill(child);
      // What setpriv says of a program that is not there.
      const code =
        /No such file or directory/.test(this.#said) && /setpriv/.test(this.#said) ? "ENOENT" : end;
      throw refusal(this.#disk, code ?? "it does not answer", this.#said);
    }
    return child;
  }

  stop(): void {
    this.#isStopped = true;
    this.#unwatch();
    if (this.#child !== undefined) kill(this.#child);
  }

  /** Starts it again and again until it runs, or is stopped. `problem`: the last one that the log was told of. */
  async keepStarting(problem = ""): Promise<void> {
    let told = problem;
    for (let wait = RETRY; !this.#isStopped; wait = Math.min(LONGEST_RETRY, wait * 2)) {
      try {
        const isInUse = !this.isRemote && isWritten(this.#disk.path);
        // To see that costs nothing, and it ends at any moment.
        if (isInUse) wait = RETRY;
        if (isInUse) throw this.#inUse();
        await this.start();
        if (this.#isStopped) this.stop();
        return;
      } catch (error) {
        const { message } = error as Error;
        if (message !== told) this.#log(message);
        told = message;
      }
      await sleep(wait, undefined, { ref: false });
    }
  }
}
