/**
 * The disks that other programs read, while a tree is served: for each a qemu-nbd, an nbdkit or both, which are started
 * again when they die. For the process that may start programs, which no server does (see asking.ts). A disk of another
 * format is let go of when QEMU starts a guest with it, and read again when that has ended. On storage that other hosts may
 * use, where their locks are not seen, it is locked instead: QEMU does not start a guest with it as long as it is served.
 */
import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../images/image.js";
import type { ImageError } from "../images/image-error.js";
import { isNbdUrl } from "../images/nbd/url.js";
import { isRemote } from "../images/remote.js";
import { layersOf } from "./image-layers.js";
import { parseImage } from "./image-name.js";
import { KeptNbdkit } from "./kept-nbdkit.js";
import { NbdProgram, type NotServingError } from "./nbd-program.js";
import { makeOwnFolder } from "./own-folders.js";
import { changedAt, type ImageUse, isWritten, QemuLocks } from "./qemu-locks.js";
import {
  type ConvertedDisk,
  IN_USE,
  imageArguments,
  QEMU_IMG,
  QEMU_NBD,
  qemuNbdArguments,
  refusal,
  servingPlace,
  urlOf,
} from "./qemu-nbd.js";

/** ms that qemu-img may take, which does not read much. */
const PATIENCE = 10_000;
/** ms until a program is started again: at first and at most; each time twice as long. */
const RETRY = 500;
const LONGEST_RETRY = 30_000;

/** What is run for one disk. */
interface Served {
  readonly url: string;
  readonly stop: () => void;
}

export class ConvertedDisks {
  readonly #log: Log;
  readonly #servers = new Map<string, Served>();
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
    const { path } = name;
    const { nbdkit, format } = layersOf(name, this.#logOnce);
    if (nbdkit === undefined && format === "raw") return path;
    this.#folder ??= makeOwnFolder("disks");
    const servers: { stop(): void }[] = [];
    let url = isNbdUrl(path) ? path : undefined;
    if (nbdkit !== undefined) {
      const place = servingPlace(this.#folder, this.#disks++);
      const server = new KeptNbdkit(path, nbdkit, place, this.#log);
      await server.start();
      servers.push(server);
      url = urlOf("", place);
    }
    if (format !== "raw") {
      const disk = { path, url, format, ...servingPlace(this.#folder, this.#disks++) };
      const server = new DiskServer(disk, this.#log, this.#logOnce);
      servers.push(server);
      if (server.isRemote) void server.keepStarting();
      else await server.start();
      url = urlOf(path, disk);
    }
    const stop = (): void => {
      for (const server of servers) server.stop();
    };
    this.#servers.set(key, { url: url as string, stop });
    return url as string;
  }

  /** Ends all but these. */
  keep(keys: ReadonlySet<string>): void {
    for (const [key, { stop }] of this.#servers) {
      if (keys.has(key)) continue;
      this.#servers.delete(key);
      stop();
    }
  }

  stop(): void {
    this.keep(new Set());
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }

  readonly #logOnce = (line: string): void => {
    if (!this.#said.has(line)) this.#log(line);
    this.#said.add(line);
  };
}

/** Of all disks that yield. */
const locks = new QemuLocks();

class DiskServer {
  /** Whether the disk lies on storage that may stall. */
  readonly isRemote: boolean;
  readonly #disk: ConvertedDisk;
  readonly #log: Log;
  readonly #logOnce: (line: string) => void;
  #program: NbdProgram | undefined;
  #isStopped = false;
  #unwatch: () => void = () => {};

  /** `logOnce`: of lines that are the same each time that it is started. */
  constructor(disk: ConvertedDisk, log: Log, logOnce: (line: string) => void) {
    this.isRemote = disk.url !== undefined || isRemote(disk.path);
    this.#logOnce = logOnce;
    this.#disk = disk;
    this.#log = log;
  }

  /** Starts it; done when it serves. Throws ImageError. */
  async start(): Promise<void> {
    const image = await this.#imageArguments();
    if (this.#isStopped) return;
    // With a lock first: QEMU itself says whether anybody writes to the image.
    let program = await this.#spawn(image, false);
    if (!this.isRemote) {
      // As long as it is locked.
      const changed = changedAt(this.#disk.path);
      program.kill();
      await program.ended;
      if (this.#isStopped) return;
      program = await this.#spawn(image, true);
      this.#unwatch = locks.watch(this.#disk.path, changed, (how) => this.#yield(program, how));
    }
    void program.ended.then((how) => {
      if (this.#isStopped || program !== this.#program) return;
      this.#unwatch();
      this.#log(`${this.#disk.path}: ${QEMU_NBD} died (${how}) and is started again`);
      void sleep(RETRY, undefined, { ref: false }).then(() => this.keepStarting());
    });
  }

  /** Leaves the disk to a program that writes to it, for as long as it does. */
  #yield(program: NbdProgram, how: ImageUse): void {
    if (this.#isStopped || program !== this.#program) return;
    const { path, format } = this.#disk;
    this.#program = undefined;
    program.kill();
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

  async #imageArguments(): Promise<string[]> {
    const steps = imageArguments(this.#disk, this.#logOnce);
    let step = steps.next();
    while (!step.done) step = steps.next(await outputOf(QEMU_IMG, step.value));
    return step.value;
  }

  async #spawn(image: readonly string[], yields: boolean): Promise<NbdProgram> {
    const args = qemuNbdArguments(this.#disk, image, yields);
    // It dies with this process, however that ends.
    const wrapped = ["--pdeathsig", "KILL", "--", QEMU_NBD, "--persistent", ...args];
    this.#program = undefined;
    try {
      this.#program = await NbdProgram.start("setpriv", wrapped, this.#disk);
      return this.#program;
    } catch (error) {
      const { code, said } = error as NotServingError;
      // What setpriv says of a program that is not there.
      const isMissing = /No such file or directory/.test(said) && /setpriv/.test(said);
      throw refusal(this.#disk, isMissing ? "ENOENT" : code, said);
    }
  }

  stop(): void {
    this.#isStopped = true;
    this.#unwatch();
    this.#program?.kill();
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

/** What a program printed; "" if it failed. */
function outputOf(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: PATIENCE, killSignal: "SIGKILL" }, (error, stdout) =>
      resolve(error === null ? stdout : ""),
    );
  });
}
