/** Files and directories that a user holds open while the guest deletes them and uses their inodes for others. */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { digest } from "../src/cloud/ids.js";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

const folder = workFolder("held");

afterAll(cleanUp);

/** ESTALE. */
const STALE = "error -116";

/** Generations with the same first digest, of which the third has the second's next one, too. */
const GENERATIONS = sameDigests();

function sameDigests(): readonly [number, number, number] {
  const [first, second] = [0x1000, 0x0001];
  for (let third = 2; ; third++)
    if (digest(third) === digest(first) && digest(third, 1) === digest(second, 1))
      return [first, second, third];
}

async function makeGuest(name: string): Promise<{ image: string; inside: string; unmount: () => void }> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "32M", image]);
  // With checksums the kernel does not let anybody set a generation.
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "^metadata_csum", image]);
  const inside = join(folder, `${name}-inside`);
  return { image, inside, unmount: await mount(image, inside, "loop") };
}

/** A new file; its generation is set (FS_IOC_SETVERSION), and its inode returned. */
function create(path: string, text: string, generation: number): number {
  writeFileSync(path, text);
  execFileSync("python3", [
    "-c",
    "import fcntl,os,struct,sys\nfcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x40087602, struct.pack('q', int(sys.argv[2])))",
    path,
    `${generation}`,
  ]);
  execFileSync("sync", ["-f", path]);
  return statSync(path).ino;
}

/** Waits until the tree has what the guest has. */
async function shows(path: string, text: string): Promise<void> {
  const read = (): string => {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? "?";
    }
  };
  await expect.poll(read, { timeout: 5000, interval: 5 }).toBe(text);
}

test("a deleted file that is open is neither damaged nor another one, whatever its inode is used for next", async () => {
  const { image, inside, unmount } = await makeGuest("files");
  const served = await serve(join(folder, "files-cloud"), { g: image });
  const tree = served.guest("g");
  const held: { fd: number; ino: number }[] = [];
  const inodes = new Set<number>();
  for (const [n, generation] of GENERATIONS.entries()) {
    const text = `file ${n}\n`;
    inodes.add(create(join(inside, `f${n}`), text, generation));
    await shows(join(tree, `f${n}`), text);
    const fd = openSync(join(tree, `f${n}`), "r");
    held.push({ fd, ino: fstatSync(fd).ino });
    // Those before are never taken for another one, nor damaged: what has been deleted is empty, and then stale.
    for (const one of held.slice(0, n)) expect(["", STALE]).toContain(readText(one.fd));
    expect(readText(fd)).toBe(text);
    if (n < GENERATIONS.length - 1) {
      rmSync(join(inside, `f${n}`));
      execFileSync("sync", ["-f", inside]);
      await shows(join(tree, `f${n}`), "ENOENT");
    }
  }
  expect(inodes.size).toBe(1);
  // Users see the guest's inode number.
  expect(new Set(held.map(({ ino }) => ino)).size).toBe(1);
  // What changes is seen in the last one, also by whoever has it open.
  writeFileSync(join(inside, "f2"), "FILE 2, changed\n");
  execFileSync("sync", ["-f", inside]);
  await shows(join(tree, "f2"), "FILE 2, changed\n");
  expect(readText((held[2] as { fd: number }).fd)).toBe("FILE 2, changed\n");
  // A file that the kernel has given up cannot be closed without an error.
  for (const { fd } of held) closeSync(fd);
  unmount();
  expect(await served.stop()).toBe(0);
}, 120_000);

function readText(fd: number): string {
  const bytes = Buffer.alloc(100);
  try {
    return bytes.toString("utf8", 0, readSync(fd, bytes, 0, 100, 0));
  } catch (error) {
    return `error ${(error as NodeJS.ErrnoException).errno}`;
  }
}

test("a directory that is open is not listed as it was when its inode has been used again and nobody saw it go", async () => {
  const { image, inside, unmount: unmountFirst } = await makeGuest("directory");
  // Far away in the inode table from what else changes, which is read with what lies beside it.
  mkdirSync(join(inside, "p"));
  const others = (name: string) => Array.from({ length: 700 }, (_, n) => join(inside, "p", `${name}${n}`));
  for (const path of others("before")) writeFileSync(path, "");
  mkdirSync(join(inside, "p/d"));
  for (const name of ["a", "b"]) writeFileSync(join(inside, "p/d", name), name);
  for (const path of others("after")) writeFileSync(path, "");
  // Nothing of it is left in the journal.
  unmountFirst();
  const unmount = await mount(image, inside, "loop");
  writeFileSync(join(inside, "other"), "");
  execFileSync("sync", ["-f", inside]);
  const served = await serve(join(folder, "directory-cloud"), { g: image });
  const tree = served.guest("g");
  const fd = openSync(join(tree, "p/d"), "r");
  const list = (): string => {
    try {
      return readdirSync(`/proc/self/fd/${fd}`).sort().join(" ");
    } catch (error) {
      return `error ${(error as NodeJS.ErrnoException).errno}`;
    }
  };
  await expect.poll(list, { timeout: 5000 }).toBe("a b");
  const { ino } = statSync(join(inside, "p/d"));
  const server = Number(execFileSync("pgrep", ["-P", `${served.pid}`], { encoding: "utf8" }).split("\n")[0]);
  // By the time that the server looks, all is in its place.
  process.kill(server, "SIGSTOP");
  try {
    rmSync(join(inside, "p/d"), { recursive: true });
    mkdirSync(join(inside, "p/e"));
    writeFileSync(join(inside, "p/e/x"), "x");
    expect(statSync(join(inside, "p/e")).ino).toBe(ino);
    execFileSync("sync", ["-f", inside]);
  } finally {
    process.kill(server, "SIGCONT");
  }
  await expect.poll(list, { timeout: 5000 }).toBe(STALE);
  expect(readdirSync(join(tree, "p/e"))).toEqual(["x"]);
  expect(readdirSync(join(tree, "p"))).toHaveLength(1401);
  closeSync(fd);
  unmount();
  expect(await served.stop()).toBe(0);
}, 120_000);
