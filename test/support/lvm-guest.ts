/** A guest whose kernel has the device mapper, which this host's may lack: with LVM's own tools, and real pools and caches. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { onEnd } from "./images-mount.js";

const init = join(import.meta.dirname, "../guest/lvm-init.sh");
/** How long it may take to start, or to do what it is told, ms. */
const LIMIT = 90_000;

export class LvmGuest {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #console = "";
  #number = 0;
  #onOutput: () => void = () => {};

  /** Starts it. `disk`: its /dev/ubda; `shared`: a folder that is at /mnt/host. */
  static async start(disk: string, shared: string): Promise<LvmGuest> {
    const guest = new LvmGuest(disk, shared);
    await guest.#answered(0, "start");
    return guest;
  }

  private constructor(disk: string, shared: string) {
    const folder = join(shared, "uml");
    mkdirSync(folder);
    this.#child = spawn(
      "linux.uml",
      [
        ...["mem=256M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", `ubd0=${disk}`],
        ...[`uml_dir=${folder}`, `init=${init}`, "con=null", "con0=fd:0,fd:1", "--", shared],
      ],
      // A user-mode kernel is several processes.
      { detached: true, stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, TMPDIR: folder } },
    );
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#console += text;
        this.#onOutput();
      });
    this.#child.stdin?.on("error", () => {});
    this.#ended = new Promise((resolve) => {
      this.#child.on("close", () => {
        resolve();
        this.#onOutput();
      });
    });
    onEnd(() => this.#kill());
  }

  /** Has it do a line of shell; done when it has. */
  async tell(line: string): Promise<void> {
    const number = ++this.#number;
    this.#child.stdin?.write(`${line}\n`);
    await this.#answered(number, line);
  }

  /** Waits until it has done what it was told as `number`: `line`. */
  async #answered(number: number, line: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string) =>
        reject(new Error(`the guest ${why}: ${line}\n${this.#console.slice(-3000)}`));
      const timer = setTimeout(() => fail("does not answer"), LIMIT);
      const look = () => {
        const [, how] = new RegExp(`^(did|failed) ${number}\\r?$`, "m").exec(this.#console) ?? [];
        const hasEnded = this.#child.exitCode !== null || this.#child.signalCode !== null;
        if (how === undefined && !hasEnded) return;
        clearTimeout(timer);
        this.#onOutput = () => {};
        if (how === "did") resolve();
        else fail(how ?? "has ended");
      };
      this.#onOutput = look;
      look();
    });
  }

  /** Shuts it down, its volumes first. */
  async stop(): Promise<void> {
    await this.tell("umount /mnt/*/ 2> /dev/null || true; lvm vgchange -an vg; sync");
    this.#child.stdin?.write("echo o > /proc/sysrq-trigger; poweroff -f\n");
    await this.#ended;
  }

  #kill(): void {
    try {
      process.kill(-this.#child.pid!, "SIGKILL");
    } catch {
      // It has ended.
    }
  }
}
