/** A guest at work, its tree, and real servers that show the tree: Samba and NFS-Ganesha, each on a free port of the loopback. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { endWithTests, mount, onEnd, run } from "./images-mount.js";
import { host, main } from "./images-serve.js";
import { freePort } from "./redis-server.js";

/** What a user is promised, ms: a durable write of the guest's is seen by whoever looks later than that. */
export const PROMISE = 1000;
/** ms that a server is given to start or end. */
const PATIENCE = 20_000;

/** A guest whose kernel writes to its image over a loop device. Returns the folder that is its root. */
export async function liveGuest(folder: string, image: string): Promise<string> {
  await run("truncate", ["-s", "256M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-N", "30000", image]);
  const inside = join(folder, "inside");
  await mount(image, inside, "loop");
  return inside;
}

/** Gives a guest a log, accounts and 10,000 files, and waits until they are on its disk. */
export async function fill(inside: string): Promise<void> {
  mkdirSync(join(inside, "log"));
  mkdirSync(join(inside, "etc"));
  writeFileSync(join(inside, "log/syslog"), "line 0\n");
  writeFileSync(join(inside, "etc/passwd"), "the guest's users\n");
  writeFileSync(join(inside, "etc/shadow"), "the guest's secrets\n", { mode: 0o600 });
  for (let d = 0; d < 10; d++) {
    mkdirSync(join(inside, `many/${d}`), { recursive: true });
    for (let f = 0; f < 1000; f++)
      writeFileSync(join(inside, `many/${d}/file ${f}`), `${d}/${f}\n`.repeat(1 + ((7 * f) % 90)));
  }
  await run("sync", ["-f", inside]);
}

/** Appends to a file, or makes it, and waits until that is on the guest's disk. */
export function append(path: string, text: string): void {
  const file = openSync(path, "a");
  writeSync(file, text);
  fsyncSync(file);
  closeSync(file);
}

/** Has the guest make durable what it did to a directory. */
export function settle(directory: string): void {
  const file = openSync(directory, "r");
  fsyncSync(file);
  closeSync(file);
}

/** Waits until `look` gives what is wanted, for as long as is promised; returns what it gave last. */
export async function promised<T>(look: () => T | Promise<T>, wanted: T): Promise<T> {
  const until = performance.now() + PROMISE;
  for (;;) {
    const started = performance.now();
    const seen = await look();
    if (JSON.stringify(seen) === JSON.stringify(wanted) || started > until) return seen;
    await sleep(5);
  }
}

/** SHA-256 of each file below, the target of each link, by path below; paths have one character a byte. */
export function hashes(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  const look = (path: Buffer, key: string): void => {
    for (const entry of readdirSync(path, { withFileTypes: true, encoding: "buffer" })) {
      const name = entry.name as unknown as Buffer;
      const below = Buffer.concat([path, Buffer.from("/"), name]);
      const keyBelow = `${key}/${name.toString("latin1")}`;
      if (entry.isDirectory()) look(below, keyBelow);
      else if (entry.isFile()) found[keyBelow] = hashOf(readFileSync(below));
      else if (entry.isSymbolicLink())
        found[keyBelow] = `-> ${readlinkSync(below, { encoding: "buffer" }).toString("latin1")}`;
    }
  };
  look(Buffer.from(folder), "");
  return found;
}

export function hashOf(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Has slashcloud put a server's configuration below `prefix`; returns what it says. */
export function install(prefix: string, mountPoint: string, args: readonly string[]): string {
  const [kind = "", ...options] = args;
  mkdirSync(prefix, { recursive: true });
  // Not what this machine has in /etc.
  const config = join(prefix, "empty.yaml");
  writeFileSync(config, "{}\n");
  return execFileSync(
    process.execPath,
    [
      main,
      "export",
      kind,
      "--config",
      config,
      "--mount",
      mountPoint,
      "--host",
      host,
      ...options,
      "--install",
      "--prefix",
      prefix,
    ],
    { encoding: "utf8" },
  );
}

/** A server that was started, and ends with the tests. */
export interface Running {
  readonly port: number;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>;
}

/** Starts a program with a process group of its own; `isReady` is tried until it is true. */
async function start(
  command: readonly string[],
  port: number,
  isReady: () => Promise<boolean>,
): Promise<Running> {
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"], detached: true });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-10_000);
    });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const kill = (signal: NodeJS.Signals): void => {
    try {
      process.kill(-child.pid!, signal);
    } catch {
      // It has ended.
    }
  };
  const forget = onEnd(() => kill("SIGKILL"));
  const until = performance.now() + PATIENCE;
  while (!(await isReady())) {
    if (child.exitCode !== null || performance.now() > until)
      throw new Error(`${command.join(" ")}: ${said}`);
    await sleep(50);
  }
  return {
    port,
    stop: async () => {
      kill("SIGTERM");
      const timer = setTimeout(() => kill("SIGKILL"), PATIENCE);
      await ended;
      clearTimeout(timer);
      forget();
    },
  };
}

/**
 * An smb.conf of a server in a folder of its own, which includes what slashcloud has put below it. Returns its path. Its
 * helpers, which would outlive it, are not started: nobody asks for a list of shares.
 */
export function smbConf(folder: string, port: number): string {
  const directories = ["pid", "lock", "state", "cache"].map(
    (name) => `${name} directory = ${join(folder, name)}`,
  );
  for (const name of ["pid", "lock", "state", "cache", "private", "ncalrpc"])
    mkdirSync(join(folder, name), { recursive: true });
  const path = join(folder, "smb.conf");
  writeFileSync(
    path,
    `[global]
   server role = standalone server
   interfaces = 127.0.0.1/8
   bind interfaces only = yes
   smb ports = ${port}
   disable netbios = yes
   disable spoolss = yes
   load printers = no
   rpc start on demand helpers = no
   ${directories.join("\n   ")}
   private dir = ${join(folder, "private")}
   ncalrpc dir = ${join(folder, "ncalrpc")}
   log file = ${join(folder, "log")}
   include = ${join(folder, "etc/samba/slashcloud.conf")}
   guest account = nobody
`,
  );
  return path;
}

/** Samba, with the configuration that is below `folder`. */
export async function smbd(folder: string): Promise<Running> {
  const port = await freePort();
  const conf = smbConf(folder, port);
  return start(["smbd", "--foreground", "--no-process-group", `--configfile=${conf}`], port, async () => {
    const asked = run("smbclient", ["-N", "-p", `${port}`, "//127.0.0.1/IPC$", "-c", "exit"]);
    return asked.then(
      () => true,
      () => false,
    );
  });
}

/** Runs commands of smbclient's on a share; returns what it said, also when it failed. */
export function smbclient(
  port: number,
  share: string,
  commands: string,
  more: readonly string[] = [],
): Promise<string> {
  return run("smbclient", ["-N", "-p", `${port}`, `//127.0.0.1/${share}`, "-c", commands, ...more], {
    accept: [1],
  });
}

/** A file's contents through Samba; what smbclient says where there is none. */
export async function smbRead(port: number, share: string, path: string): Promise<string> {
  return smbclient(port, share, `get "${path}" -`);
}

/**
 * Has mounts of its own, but none of what other tests have mounted, which it would hold: only the tree's, and an empty
 * folder for what it writes.
 */
const GANESHA = `
awk -v tree="$1" '($1 ~ /^\\/dev\\/loop/ || $3 == "fuse.slashcloud") && $2 != tree {print $2}' /proc/self/mounts |
  sort -r | while read -r path; do umount -l "$path"; done
mount -t tmpfs none /var/lib/nfs
exec ganesha.nfsd -F -f "$2" -L "$3/log" -p "$3/pid"
`;

/** NFS-Ganesha, with the configuration that is below `folder`. */
export async function ganesha(folder: string, mountPoint: string, port: number): Promise<Running> {
  const log = join(folder, "log");
  writeFileSync(log, "");
  const conf = join(folder, "etc/ganesha/ganesha.conf");
  return start(
    ["unshare", "-m", "--propagation", "slave", "sh", "-c", GANESHA, "sh", mountPoint, conf, folder],
    port,
    async () => readFileSync(log, "utf8").includes("NFS SERVER INITIALIZED"),
  );
}

/** A client of NFS that keeps files open (nfs_client.py). Paths have one character a byte. */
export class NfsClient {
  readonly #child: ChildProcess;
  readonly #waiting: Array<(line: string) => void> = [];

  private constructor(port: number, exported: string, uid: number) {
    const program = join(import.meta.dirname, "nfs_client.py");
    const args = [program, "127.0.0.1", `${port}`, exported, `${uid}`];
    const child = spawn("/usr/bin/python3", args, { stdio: ["pipe", "pipe", "inherit"] });
    endWithTests(child);
    this.#child = child;
    createInterface({ input: child.stdout }).on("line", (line) => this.#waiting.shift()?.(line));
    child.once("close", () => {
      for (const waiting of this.#waiting) waiting('{"error":-1,"text":"the client has ended"}');
    });
  }

  /** Mounts an export, as the user of that number. */
  static async mount(port: number, exported: string, uid = 0): Promise<NfsClient> {
    const client = new NfsClient(port, exported, uid);
    await client.#answer();
    return client;
  }

  /** Throws with what the server says. */
  async ask<T>(...command: readonly (string | number)[]): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
    return (await this.#answer()) as T;
  }

  /** What ask gives, or the error's text. */
  async try<T>(...command: readonly (string | number)[]): Promise<T | string> {
    try {
      return await this.ask<T>(...command);
    } catch (error) {
      return (error as Error).message;
    }
  }

  async #answer(): Promise<unknown> {
    const line = await new Promise<string>((resolve) => this.#waiting.push(resolve));
    const { ok, text } = JSON.parse(line) as { ok?: unknown; text?: string };
    if (text !== undefined) throw new Error(text);
    return ok;
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }
}
