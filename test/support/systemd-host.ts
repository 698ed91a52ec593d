/**
 * A host that systemd runs: systemd-nspawn boots it over this machine's own files, and what is changed in it is in a
 * folder of its own. It has no network but its loopback.
 */
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { onEnd, run, unmountNow } from "./images-mount.js";

/** ms until it is up. */
const BOOT_LIMIT = 120_000;

export interface Ended {
  readonly code: number;
  /** Standard output. */
  readonly out: string;
  readonly err: string;
}

export class SystemdHost {
  /** Its files, as this machine sees them. */
  readonly root: string;
  readonly #init: number;
  readonly #end: () => void;

  private constructor(root: string, init: number, end: () => void) {
    this.root = root;
    this.#init = init;
    this.#end = end;
  }

  /** `prepare` is given its files before it boots. */
  static async boot(folder: string, prepare: (root: string) => void | Promise<void> = () => {}) {
    const [root, upper, work] = ["root", "upper", "work"].map((name) => join(folder, name));
    for (const each of [root, upper, work]) mkdirSync(each as string, { recursive: true });
    await run("mount", [
      ...["-t", "overlay", "overlay", "-o", `lowerdir=/,upperdir=${upper},workdir=${work}`],
      root as string,
    ]);
    const unmount = onEnd(() => unmountNow(root as string));
    // One that is empty is filled at the boot, and this machine's own is not told on.
    writeFileSync(join(root as string, "etc/machine-id"), "");
    rmSync(join(root as string, "var/log/journal"), { recursive: true, force: true });
    await prepare(root as string);
    // By a name of its own: what systemd-nspawn leaves below its name when it is killed keeps the next from booting.
    const name = `slashcloud-${randomBytes(4).toString("hex")}`;
    // Each program that is started here becomes the next: the process is systemd-nspawn's in the end.
    const child = spawn(
      "unshare",
      [
        ...["--mount", "--propagation", "private", join(import.meta.dirname, "own-mounts.sh")],
        ...[root as string, "systemd-nspawn"],
        ...[
          "--quiet",
          "--machine",
          name,
          "--register=no",
          "--keep-unit",
          "--private-network",
          "--console=pipe",
        ],
        // What a host's own services may: nspawn's filter of system calls would keep NFS-Ganesha from its files.
        ...["--capability=all", "--system-call-filter=open_by_handle_at", "--bind=/dev/fuse"],
        ...["-D", root as string, "--boot", "systemd.unit=basic.target"],
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const until = performance.now() + BOOT_LIMIT;
    let init = 0;
    const end = onEnd(() => {
      // With its init ends all that it runs; that does not end with systemd-nspawn.
      if (init > 0 && existsSync(`/proc/${init}/ns`)) process.kill(init, "SIGKILL");
      child.kill("SIGKILL");
      const limit = performance.now() + 5000;
      while (init > 0 && existsSync(`/proc/${init}/ns`) && performance.now() < limit)
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
      unmount();
      rmSync(join("/run/systemd/nspawn/propagate", name), { recursive: true, force: true });
    });
    for (;;) {
      if (child.exitCode !== null || performance.now() > until) throw new Error(`it does not boot: ${said}`);
      init = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").split(" ")[0]);
      const host = new SystemdHost(root as string, init, end);
      if (init > 0) {
        const { out } = await host.try("systemctl", "is-system-running");
        if (/^(running|degraded)/.test(out)) return host;
      }
      await sleep(100);
    }
  }

  /** Runs a program in it, as root. */
  try(...words: string[]): Promise<Ended> {
    return new Promise((resolve) => {
      execFile(
        "nsenter",
        ["--target", String(this.#init), "--all", "--", ...words],
        { encoding: "utf8", maxBuffer: 16 << 20 },
        (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err }),
      );
    });
  }

  /** The same; returns what it has said. Throws if it fails. */
  async run(...words: string[]): Promise<string> {
    const { code, out, err } = await this.try(...words);
    if (code !== 0) throw new Error(`${words.join(" ")}: exit code ${code}: ${err}${out}`);
    return out;
  }

  /** Asks for a property of a unit. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.run("systemctl", "show", "--value", "--property", name, unit)).trim();
  }

  /** What a unit has said so far. */
  journal(unit: string): Promise<string> {
    return this.run("journalctl", "--no-pager", "--output=cat", "--unit", unit);
  }

  /** Waits until something holds. */
  async until(what: string, holds: () => Promise<boolean>, limit = 60_000): Promise<void> {
    const end = performance.now() + limit;
    while (!(await holds())) {
      if (performance.now() > end) throw new Error(`never: ${what}`);
      await sleep(100);
    }
  }

  stop(): void {
    this.#end();
  }
}
