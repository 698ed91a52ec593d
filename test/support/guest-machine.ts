/** Guests that run: a small Linux of busybox on a raw image, under QEMU or as a user-mode kernel. */
import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { onEnd, run } from "./images-mount.js";

/** Where the kernel is kept from one run of the tests to the next. */
const cache = process.env.SLASHCLOUD_TEST_CACHE ?? "/var/cache/slashcloud-test";
const init = join(import.meta.dirname, "../guest/init");

/** How long a guest may take to start, or to do what it is told, ms. */
const LIMIT = 120_000;

/** What the guest's init calls. */
const APPLETS =
  "sh cat chmod chown cp dd echo ln mkdir mount mv poweroff reboot rm stty sync tail truncate".split(" ");

/**
 * Debian's kernel for virtual machines, which has ext4 and NVMe built in. Downloaded and unpacked, not installed: an
 * installed one would become the kernel that this machine starts next.
 */
export async function cloudKernel(): Promise<string> {
  try {
    return await currentKernel();
  } catch {
    // The archive has another version than it had when it was last asked.
    await run("apt-get", ["update", "-q"]);
    return await currentKernel();
  }
}

async function currentKernel(): Promise<string> {
  const depends = await run("apt-cache", ["depends", "--important", "linux-image-cloud-amd64"]);
  const name = /Depends: (\S+)/.exec(depends)?.[1];
  if (name === undefined) throw new Error("apt knows no linux-image-cloud-amd64");
  const kernel = join(cache, name);
  if (existsSync(kernel)) return kernel;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, "part-"));
  const done = onEnd(() => rmSync(work, { recursive: true, force: true }));
  await run("sh", ["-c", 'cd "$1" && apt-get download -q "$2"', "sh", work, name]);
  await run("sh", [
    "-c",
    'cd "$1" && dpkg-deb --fsys-tarfile *.deb | tar -xO --wildcards "./boot/vmlinuz-*" > vmlinuz',
    "sh",
    work,
  ]);
  renameSync(join(work, "vmlinuz"), kernel);
  done();
  return kernel;
}

/** A raw image whose ext4 file system is all of a guest. */
export async function guestImage(folder: string): Promise<string> {
  const root = join(folder, "root");
  for (const name of ["bin", "sbin", "dev", "proc", "srv", "var/log"]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  for (const applet of APPLETS) symlinkSync("busybox", join(root, "bin", applet));
  copyFileSync(init, join(root, "sbin/init"));
  const image = join(folder, "guest.img");
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", root, image]);
  rmSync(root, { recursive: true });
  return image;
}

/** A running guest. */
export class Machine {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #forget: () => void;
  #console = "";
  #number = 0;
  #onOutput: () => void = () => {};

  private constructor(program: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
    this.#child = spawn(program, args, {
      // A user-mode kernel is several processes.
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...environment },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#console += text;
        this.#onOutput();
      });
    }
    // Told of a guest that has gone by what it does not answer.
    this.#child.stdin?.on("error", () => {});
    this.#ended = new Promise((resolve) => {
      this.#child.on("close", () => {
        resolve();
        this.#onOutput();
      });
    });
    this.#forget = onEnd(() => this.#kill());
  }

  /** A PC emulated by QEMU, its disk an NVMe drive; `socket` is where its monitor (QMP) listens. */
  static qemu(image: string, socket: string, cacheMode: "writeback" | "none"): Promise<Machine> {
    return Machine.pc([`file=${image},format=raw,cache=${cacheMode}`], [socket]);
  }

  /** A PC emulated by QEMU, its disks NVMe drives that -drive describes; its monitors (QMP) listen at `sockets`. */
  static async pc(drives: readonly string[], sockets: readonly string[]): Promise<Machine> {
    return new Machine("qemu-system-x86_64", [
      ...[
        "-machine",
        "q35",
        "-accel",
        "tcg",
        "-m",
        "128",
        "-nodefaults",
        "-display",
        "none",
        "-serial",
        "stdio",
      ],
      ...sockets.flatMap((socket) => ["-qmp", `unix:${socket},server=on,wait=off`]),
      ...drives.flatMap((drive, i) => [
        ...["-drive", `${drive},if=none,id=disk${i}`],
        ...["-device", `nvme,drive=disk${i},serial=disk${i}`],
      ]),
      ...["-kernel", await cloudKernel(), "-append", "root=/dev/nvme0n1 console=ttyS0 quiet panic=1"],
    ]);
  }

  /** A Linux kernel that is an ordinary program. */
  static uml(image: string, folder: string): Machine {
    return new Machine(
      "linux.uml",
      [
        ...[`ubd0=${image}`, "root=/dev/ubda", "mem=64M", "con=null", "con0=fd:0,fd:1", "quiet"],
        `uml_dir=${folder}`,
      ],
      { HOME: folder },
    );
  }

  /** What the guest printed since it was last waited for. */
  get console(): string {
    return this.#console;
  }

  /** Waits until the guest has started, also once again. */
  async started(): Promise<void> {
    await this.#said("guest: ready");
  }

  /** Has it run a command of its init, and waits until it is done; returns how many lines it has logged in all. */
  async does(command: string): Promise<number> {
    const number = this.tell(command);
    return Number((await this.#said(`guest: done ${number}, (\\d+) lines`))[1]);
  }

  /** Has it run a command that does not return. */
  tell(command: string): number {
    this.#number++;
    this.#child.stdin?.write(`${this.#number} ${command}\n`);
    return this.#number;
  }

  /** Waits until the machine is switched off. */
  async ended(): Promise<void> {
    const timer = setTimeout(() => this.#kill(), LIMIT);
    await this.#ended;
    clearTimeout(timer);
    this.#forget();
  }

  /** Pulls the plug. */
  async pullPlug(): Promise<void> {
    this.#kill();
    await this.ended();
  }

  #kill(): void {
    try {
      process.kill(-(this.#child.pid as number), "SIGKILL");
    } catch {
      // It has ended.
    }
  }

  /** Waits for a line that is `text`, a regular expression. */
  async #said(text: string): Promise<RegExpExecArray> {
    const until = performance.now() + LIMIT;
    for (;;) {
      // The console ends its lines by CR LF.
      const said = new RegExp(`${text}\\r?\\n`).exec(this.#console);
      if (said !== null) {
        this.#console = this.#console.slice(said.index + said[0].length);
        return said;
      }
      const left = until - performance.now();
      if (left <= 0 || this.#child.exitCode !== null || this.#child.signalCode !== null)
        throw new Error(`the guest did not say "${text}"\n${this.#console.slice(-4000)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#onOutput = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** Presses the reset button of a machine whose monitor listens at `socket`. */
export async function pressReset(socket: string): Promise<void> {
  const monitor = createConnection(socket);
  monitor.setEncoding("utf8");
  let answers = 0;
  await new Promise<void>((resolve, reject) => {
    monitor.on("error", reject);
    monitor.on("data", (text: string) => {
      answers += text.split('"return"').length - 1;
      if (answers >= 2) resolve();
    });
    monitor.write('{"execute":"qmp_capabilities"}\n{"execute":"system_reset"}\n');
  });
  monitor.destroy();
}
