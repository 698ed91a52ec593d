/** A libvirt of a test's own: a daemon that runs as an ordinary user, with all that it keeps in a folder. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { onEnd, run } from "./images-mount.js";

/** How long the daemon may take to start, ms. */
const LIMIT = 90_000;
/** Debian's user for what has no other; a libvirt of root's would be the machine's own. */
const USER = "nobody";

export interface DomainOptions {
  /** `<disk>` elements. */
  readonly disks: readonly string[];
  /** More arguments for QEMU. */
  readonly args?: readonly string[];
  /** Of a domain that is there, to change it. */
  readonly uuid?: string;
}

export class Libvirt {
  readonly folder: string;
  readonly uri: string;
  #child: ChildProcess | undefined;

  /** Nothing is started yet. The folder is to be one that everybody may look into. */
  constructor(folder: string) {
    this.folder = folder;
    this.uri = `qemu:///session?socket=${join(folder, "libvirt-sock")}`;
    chmodSync(folder, 0o755);
    for (const name of ["config/libvirt", "run", "cache", "data"])
      mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(
      join(folder, "libvirtd.conf"),
      `unix_sock_dir = "${folder}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n`,
    );
    // Else another daemon (virtlogd) is needed.
    writeFileSync(join(folder, "config/libvirt/qemu.conf"), 'stdio_handler = "file"\n');
    execFileSync("chown", ["-R", USER, folder]);
    onEnd(() => this.#end());
  }

  /** Starts the daemon; done when it answers. */
  async start(): Promise<void> {
    const { folder } = this;
    const command = ["--reuid", USER, "--regid", "nogroup", "--clear-groups", "--", "libvirtd"];
    const files = ["-f", join(folder, "libvirtd.conf"), "-p", join(folder, "libvirtd.pid")];
    const child = spawn("setpriv", [...command, ...files], {
      stdio: ["ignore", "ignore", "pipe"],
      env: {
        ...process.env,
        HOME: folder,
        XDG_RUNTIME_DIR: join(folder, "run"),
        XDG_CONFIG_HOME: join(folder, "config"),
        XDG_CACHE_HOME: join(folder, "cache"),
        XDG_DATA_HOME: join(folder, "data"),
      },
    });
    this.#child = child;
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    for (const begun = performance.now(); ; await sleep(50)) {
      const answer = await this.virsh("uri").catch(() => undefined);
      if (answer !== undefined) return;
      if (child.exitCode !== null || performance.now() - begun > LIMIT)
        throw new Error(`libvirtd did not start\n${said}`);
    }
  }

  /** What virsh printed. Throws when it fails. */
  virsh(...args: readonly string[]): Promise<string> {
    return run("virsh", ["-q", "-c", this.uri, ...args]);
  }

  /** Defines a domain, or changes it. */
  async define(name: string, { disks, args = [], uuid }: DomainOptions): Promise<void> {
    const file = join(this.folder, `define-${name}.xml`);
    const quote = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
    writeFileSync(
      file,
      `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
        <name>${quote(name)}</name>${uuid === undefined ? "" : `<uuid>${uuid}</uuid>`}
        <memory unit='MiB'>32</memory><vcpu>1</vcpu>
        <os><type arch='x86_64' machine='q35'>hvm</type></os>
        <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
          <memballoon model='none'/>${disks.join("\n")}
        </devices>
        <qemu:commandline>${args.map((arg) => `<qemu:arg value='${quote(arg)}'/>`).join("")}</qemu:commandline>
      </domain>`,
    );
    await this.virsh("define", file);
  }

  /** Sends the daemon a signal; waits for its end if it is one to end it. */
  async signal(signal: "SIGSTOP" | "SIGCONT" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    child?.kill(signal);
    if (signal === "SIGKILL") while (child?.exitCode === null && child.signalCode === null) await sleep(10);
  }

  /** A new image that QEMU may write to. */
  async image(name: string, format: "raw" | "qcow2", from?: string): Promise<string> {
    const path = join(this.folder, name);
    if (from === undefined) await run("qemu-img", ["create", "-q", "-f", format, path, "8M"]);
    else await run("qemu-img", ["convert", "-f", "raw", "-O", format, from, path]);
    await run("chown", [USER, path]);
    return path;
  }

  /** Of the machines that a dead daemon leaves, too. */
  #end(): void {
    this.#child?.kill("SIGKILL");
    const folder = join(this.folder, "run/libvirt/qemu/run");
    if (!existsSync(folder)) return;
    for (const name of readdirSync(folder).filter((file) => file.endsWith(".pid"))) {
      const pid = Number(readFileSync(join(folder, name), "utf8"));
      if (existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("qemu-system"))
        process.kill(pid, "SIGKILL");
    }
  }
}

/** A `<disk>` that is a file. */
export function fileDisk(target: string, format: string, path: string): string {
  return `<disk type='file' device='disk'><driver name='qemu' type='${format}'/><source file='${path}'/><target dev='${target}' bus='virtio'/></disk>`;
}
