/** A host with an NFS server, and clients of NFS, SMB and the automounter, in its kernel: a user-mode one. */
import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, cpSync, lstatSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { onEnd, run } from "./images-mount.js";
import { main } from "./images-serve.js";

const init = join(import.meta.dirname, "../guest/exports-init.sh");
const modules = join(import.meta.dirname, "../../node_modules");
/** ms that it may take to do what it is told: a machine of two cores may be busy with much else. */
export const LIMIT = 100_000;

/** What it runs slashcloud by. */
export const SLASHCLOUD = `/host${process.execPath} /host${main}`;

/** The ext4 image that is its root: what is not the outer host's. */
async function rootImage(folder: string): Promise<string> {
  const root = join(folder, "root");
  for (const name of ["proc", "sys", "dev", "run", "tmp", "root", "host", "usr", "mnt", "cloud", "etc/samba"])
    mkdirSync(join(root, name), { recursive: true });
  for (const name of ["nfs/v4recovery", "nfs/statd", "nfs/nfsdcltrack", "samba/private"])
    mkdirSync(join(root, "var/lib", name), { recursive: true });
  for (const name of ["var/cache/samba", "var/log/samba"]) mkdirSync(join(root, name), { recursive: true });
  for (const name of ["bin", "sbin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(root, name));
  for (const name of [
    "group",
    "netconfig",
    "nsswitch.conf",
    "passwd",
    "protocols",
    "rpc",
    "services",
    "autofs.conf",
    "nfs.conf",
  ])
    cpSync(join("/etc", name), join(root, "etc", name), { dereference: true });
  cpSync("/etc/alternatives", join(root, "etc/alternatives"), { recursive: true, verbatimSymlinks: true });
  writeFileSync(join(root, "etc/hosts"), "127.0.0.1 localhost h\n");
  for (const name of ["etc/exports", "var/lib/nfs/etab", "var/lib/nfs/rmtab"])
    writeFileSync(join(root, name), "");
  writeFileSync(join(root, "etc/auto.master"), "+dir:/etc/auto.master.d\n");
  // A worktree's packages are a link, which leads to the outer host.
  if (lstatSync(modules).isSymbolicLink()) {
    const target = (await run("readlink", ["-f", modules])).trim();
    mkdirSync(join(root, dirname(target)), { recursive: true });
    symlinkSync(`/host${target}`, join(root, target));
  }
  copyFileSync("/bin/busybox", join(root, "busybox"));
  copyFileSync(init, join(root, "init"));
  const image = join(folder, "root.img");
  await run("truncate", ["-s", "256M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", root, image]);
  rmSync(root, { recursive: true });
  return image;
}

export class ExportingHost {
  readonly #child: ChildProcess;
  #console = "";
  #number = 0;
  #onOutput: () => void = () => {};

  /** Starts it; what it needs is below `folder`. */
  static async start(folder: string): Promise<ExportingHost> {
    const host = new ExportingHost(folder, await rootImage(folder));
    const said = await host.#answered(0, "start");
    if (said.includes("no module")) throw new Error(`the user-mode kernel lacks modules:\n${said}`);
    return host;
  }

  private constructor(folder: string, image: string) {
    this.#child = spawn(
      "linux.uml",
      [
        ...["mem=1G", `ubd0=${image}`, "root=/dev/ubda", "rw", `uml_dir=${folder}`, "init=/init", "quiet"],
        ...["con=null", "con0=fd:0,fd:1"],
      ],
      // It is several processes.
      {
        detached: true,
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, TMPDIR: folder, HOME: folder },
      },
    );
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#console += text;
        this.#onOutput();
      });
    // Told of one that has gone by what it does not answer.
    this.#child.stdin?.on("error", () => {});
    this.#child.on("close", () => this.#onOutput());
    onEnd(() => {
      try {
        process.kill(-this.#child.pid!, "SIGKILL");
      } catch {
        // It has ended.
      }
    });
  }

  /** Has it do lines of bash; what they set stays. Returns what they say. Throws if the last one fails. */
  tell(lines: string): Promise<string> {
    this.#number++;
    const coded = Buffer.from(lines).toString("base64");
    this.#child.stdin?.write(`${coded.replace(/.{999}(?=.)/g, "$&\n")}\n\n`);
    return this.#answered(this.#number, lines);
  }

  async #answered(number: number, lines: string): Promise<string> {
    return await new Promise<string>((resolve, reject) => {
      const fail = (why: string) => {
        clearTimeout(timer);
        reject(new Error(`the host ${why}: ${lines}\n${this.#console.slice(-4000)}`));
      };
      const timer = setTimeout(() => fail("does not answer"), LIMIT);
      const look = () => {
        const answer = new RegExp(`(?:^said ${number}\\r?\\n)?([^]*)^(did|failed) ${number}\\r?$`, "m").exec(
          this.#console,
        );
        if (answer === null) {
          if (this.#child.exitCode !== null || this.#child.signalCode !== null) fail("has ended");
          return;
        }
        this.#onOutput = () => {};
        if (answer[2] === "failed") return fail("failed");
        clearTimeout(timer);
        this.#console = this.#console.slice(answer.index + answer[0].length);
        resolve(answer[1]!.replace(/\r/g, ""));
      };
      this.#onOutput = look;
      look();
    });
  }
}
