/**
 * A Linux kernel that is an ordinary program and has vfat, which the host's kernel may lack: runs a script on images, with
 * the host's own files as its root, read-only, but for one folder.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onEnd } from "./images-mount.js";

const modules = "/usr/lib/uml/modules";
/** ms. */
const LIMIT = 120_000;

/** Modules in the order in which they need each other. */
const VFAT = ["fat/fat.ko", "fat/vfat.ko", "nls/nls_cp437.ko", "nls/nls_ascii.ko", "nls/nls_utf8.ko"];

/** How the tests mount: as Debian's kernels do by default, with times taken for UTC. */
export const VFAT_OPTIONS = "tz=UTC,utf8,iocharset=ascii,umask=022";

/** What such a kernel has. */
export interface UmlMachine {
  /** Modules below kernel/fs, in the order in which they need each other. */
  readonly drivers: readonly string[];
  /** MiB. */
  readonly memory: number;
  /** ms that a script may take. */
  readonly limit: number;
}

const SMALL: UmlMachine = { drivers: VFAT, memory: 192, limit: LIMIT };

/** Writes what the kernel starts as its first program; returns how it is started. */
function start(
  folder: string,
  images: readonly string[],
  script: string,
  { drivers, memory }: UmlMachine = SMALL,
): string[] {
  const [version] = readdirSync(modules);
  const path = join(folder, "uml-init.sh");
  const lines = [
    "#!/bin/sh",
    "export PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "mount -t proc proc /proc",
    ...drivers.map((file) => `busybox insmod ${join(modules, version as string, "kernel/fs", file)}`),
    "mount -t tmpfs tmpfs /mnt",
    `mount -t hostfs none ${folder} -o ${folder}`,
    `(\nset -e\n${script}\necho "uml: done"\n)`,
    "busybox poweroff -f",
  ];
  writeFileSync(path, `${lines.join("\n")}\n`, { mode: 0o755 });
  return [
    ...images.map((image, n) => `ubd${n}=${image}`),
    ...["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", `mem=${memory}M`, "con=null"],
    ...["quiet", `uml_dir=${folder}`, `init=${path}`],
  ];
}

/**
 * Runs a shell script under that kernel; `images` are its /dev/ubda, /dev/ubdb, ... Nothing but `folder` can be written
 * to. Throws, with what was printed, unless all of it succeeds.
 */
export async function inUml(
  folder: string,
  images: readonly string[],
  script: string,
  machine = SMALL,
): Promise<string> {
  const output = await new Promise<string>((resolve) => {
    const child = execFile(
      "linux.uml",
      [...start(folder, images, script, machine), "con0=null,fd:1"],
      {
        maxBuffer: 1 << 28,
        timeout: machine.limit,
        killSignal: "SIGKILL",
        env: { ...process.env, HOME: folder },
      },
      (_, stdout, stderr) => resolve(stdout + stderr),
    );
    child.stdin?.end();
  });
  if (!output.includes("uml: done"))
    throw new Error(`the script failed under the user-mode kernel:\n${output}`);
  return output;
}

/** A user-mode kernel that has an image mounted, and does what it is told. */
export class UmlGuest {
  readonly #child: ChildProcess;
  #output = "";
  #onOutput: () => void = () => {};
  #number = 0;

  /** Mounts `image` at /mnt/v, with `options` beside those that all tests use. */
  constructor(folder: string, image: string, options = "rw") {
    const script = `
mkdir /mnt/v
mount -t vfat -o ${options},${VFAT_OPTIONS} /dev/ubda /mnt/v
cd /mnt/v
stty -echo
while read -r number command; do
  eval "$command"
  echo "uml: did $number"
done`;
    this.#child = spawn("linux.uml", [...start(folder, [image], script), "con0=fd:0,fd:1"], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env: { ...process.env, HOME: folder },
    });
    // It is several processes.
    onEnd(() => {
      try {
        process.kill(-(this.#child.pid as number), "SIGKILL");
      } catch {
        // It has ended.
      }
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
        this.#onOutput();
      });
    }
    this.#child.on("close", () => this.#onOutput());
  }

  /** Has it run a line of shell; throws if that fails, or it has ended. */
  async does(command: string): Promise<void> {
    const number = ++this.#number;
    this.#child.stdin?.write(`${number} ${command}\n`);
    const until = performance.now() + LIMIT;
    while (!this.#output.includes(`uml: did ${number}\r`) && !this.#output.includes(`uml: did ${number}\n`)) {
      if (this.#child.exitCode !== null || performance.now() > until)
        throw new Error(`the user-mode kernel did not do "${command}":\n${this.#output.slice(-4000)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#onOutput = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Unmounts, and switches it off. */
  async end(): Promise<void> {
    await this.does("cd / && umount /mnt/v");
    this.#child.stdin?.end();
    await new Promise<void>((resolve) => {
      if (this.#child.exitCode !== null) resolve();
      else this.#child.on("close", () => resolve());
    });
  }
}

/** What `fsck.fat` says against an image; "" if nothing. */
export function checkFat(image: string): string {
  try {
    execFileSync("fsck.fat", ["-n", image], { stdio: "pipe" });
    return "";
  } catch (error) {
    return String((error as { stdout?: Buffer }).stdout);
  }
}
