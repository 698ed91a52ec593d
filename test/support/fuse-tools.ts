/** Real tools, run on a mounted tree. */
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import type { MemoryTree, Node } from "./fuse-tree.js";

/** Goes before a command to run it as an ordinary user. */
export const AS_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/** How a tool ended: what it wrote, as Latin-1, so that each byte is one character. */
export interface Outcome {
  status: number | null;
  output: string;
  errors: string;
}

/** Runs a command and its arguments (Latin-1). */
export function run(command: string, ...args: string[]): Outcome {
  const child: SpawnSyncReturns<Buffer> = spawnSync(command, args, {
    maxBuffer: 256 * 1024 * 1024,
    env: { ...process.env, LC_ALL: "C" },
  });
  if (child.error !== undefined) throw child.error;
  return {
    status: child.status,
    output: child.stdout.toString("latin1"),
    errors: child.stderr.toString("latin1"),
  };
}

/** Runs a command that must succeed; returns what it wrote. */
export function output(command: string, ...args: string[]): string {
  const outcome = run(command, ...args);
  if (outcome.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${outcome.errors}`);
  return outcome.output;
}

/** Runs a Python program that prints JSON; returns that. */
export function python<T>(program: string, ...args: string[]): T {
  return JSON.parse(output("/usr/bin/python3", "-c", program, ...args)) as T;
}

/** What lstat(2) and readlink(2) tell of a file. Numbers that need more than 53 bits are text. */
export interface Told {
  mode: number;
  ino: string;
  nlink: number;
  uid: number;
  gid: number;
  size: number;
  blocks: number;
  blksize: number;
  rdev: number;
  atime: string;
  mtime: string;
  ctime: string;
}

const WALK = `
import json, os, sys
root = os.fsencode(sys.argv[1])
found = {}
def look(path, name):
    s = os.lstat(path)
    found[name.decode('latin1')] = dict(mode=s.st_mode, ino=str(s.st_ino), nlink=s.st_nlink, uid=s.st_uid,
        gid=s.st_gid, size=s.st_size, blocks=s.st_blocks, blksize=s.st_blksize, rdev=s.st_rdev,
        atime=str(s.st_atime_ns), mtime=str(s.st_mtime_ns), ctime=str(s.st_ctime_ns))
    if s.st_mode & 0o170000 == 0o40000:
        for child in os.listdir(path):
            if name == b'' and child == b'broken': continue
            look(path + b'/' + child, name + b'/' + child)
look(root, b'')
print(json.dumps(found))
`;

/** lstat(2) of everything below a mount point but \`broken\`, by path (Latin-1). */
export function walk(path: string, prefix: string[] = []): Record<string, Told> {
  const [command, ...args] = [...prefix, "/usr/bin/python3", "-c", WALK, path];
  return JSON.parse(output(command as string, ...args)) as Record<string, Told>;
}

const nanoseconds = ([seconds, rest]: readonly [number, number]): string =>
  String(BigInt(seconds) * 1_000_000_000n + BigInt(rest));

function told(node: Node): Told {
  const { mode, nlink, uid, gid, size, blocks, blksize, major, minor } = node;
  return {
    mode,
    ino: String(BigInt(node.high) * 0x1_0000_0000n + BigInt(node.low)),
    nlink,
    uid,
    gid,
    size,
    blocks,
    blksize,
    // glibc's dev_t for majors below 4096.
    rdev: (minor & 0xff) + major * 256 + (minor - (minor & 0xff)) * 4096,
    atime: nanoseconds(node.atime),
    mtime: nanoseconds(node.mtime),
    ctime: nanoseconds(node.ctime),
  };
}

/** What \`walk\` should find. */
export function expectedWalk(tree: MemoryTree): Record<string, Told> {
  const found: Record<string, Told> = {};
  const look = (node: Node, path: string): void => {
    found[path] = told(node);
    for (const [name, child] of node.children) {
      if (path !== "" || name !== "broken") look(child, `${path}/${name}`);
    }
  };
  look(tree.root, "");
  return found;
}

/** Waits until `got` gives `wanted`, at most a minute; returns what it gave last. */
export async function eventually<T>(got: () => T, wanted: T): Promise<T> {
  const end = Date.now() + 60_000;
  while (JSON.stringify(got()) !== JSON.stringify(wanted) && Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return got();
}
