/**
 * Images of a guest that is at work: copied while the kernel writes to them, and never cleanly unmounted.
 *
 * The image lies on an XFS with reflinks. A clone (FICLONE) is taken under the file's lock between two writes of the
 * loop device, so it holds every write that was complete and some of those under way: what a crash at that moment would
 * leave. A plain copy would not be one moment.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, statfsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { endWithTests, loopDevice, mount, onEnd, run, workFolder } from "./images-mount.js";

/** A file system under load. */
export interface LiveRecipe {
  readonly name: string;
  /** For truncate(1). */
  readonly size: string;
  readonly mke2fs: readonly string[];
  /** Options of mount(8) of the guest's kernel. */
  readonly mount?: string;
  /** Options of load.py. */
  readonly load: readonly string[];
  readonly fastCommits?: true;
}

const uuid = "11fe11fe-d000-4000-8000-0123456789ab";
const full = (...more: string[]) => ["--extents", ...more];
const ext4 = (block: number, features: string, ...more: string[]) => ({
  mke2fs: ["-t", "ext4", "-b", `${block}`, "-U", uuid, ...(features ? ["-O", features] : []), ...more],
});
const ext3 = (block: number, ...more: string[]) => ({
  mke2fs: ["-t", "ext3", "-b", `${block}`, "-U", uuid, ...more],
});
const small = ["--block", "1024"];

export const liveRecipes: readonly LiveRecipe[] = [
  { name: "ext3, 4 KiB blocks", size: "96M", ...ext3(4096), load: [] },
  { name: "ext3, 1 KiB blocks, a journal of 1 MiB", size: "96M", ...ext3(1024, "-J", "size=1"), load: small },
  { name: "ext3, data=journal", size: "96M", ...ext3(4096), mount: "data=journal", load: [] },
  { name: "ext4, checksums of version 3", size: "96M", ...ext4(4096, ""), load: full() },
  {
    name: "ext4, 1 KiB blocks, a journal of 1 MiB",
    size: "96M",
    ...ext4(1024, "", "-J", "size=1"),
    load: full(...small),
  },
  { name: "ext4 without checksums", size: "96M", ...ext4(4096, "^metadata_csum"), load: full() },
  {
    name: "ext4 without checksums, 32-bit block numbers",
    size: "96M",
    ...ext4(1024, "^metadata_csum,^64bit", "-J", "size=4"),
    load: full(...small),
  },
  {
    name: "ext4, data=journal, blocks that look like the journal's own",
    size: "96M",
    ...ext4(4096, "", "-J", "size=16"),
    mount: "data=journal",
    load: full(),
  },
  {
    name: "ext4, journal_checksum (version 1)",
    size: "96M",
    ...ext4(4096, "^metadata_csum"),
    mount: "journal_checksum",
    load: full(),
  },
  {
    name: "ext4, journal_async_commit",
    size: "96M",
    ...ext4(4096, "^metadata_csum"),
    mount: "journal_async_commit,data=writeback",
    load: full(),
  },
  {
    name: "ext4, journal_async_commit with checksums of version 3",
    size: "96M",
    ...ext4(4096, ""),
    mount: "journal_async_commit,data=writeback",
    load: full(),
  },
  {
    name: "ext4 with orphan_file and bigalloc",
    size: "128M",
    ...ext4(4096, "orphan_file,bigalloc"),
    load: full(),
  },
  {
    name: "ext4 with inline_data, ea_inode and meta_bg",
    size: "96M",
    ...ext4(4096, "inline_data,ea_inode,meta_bg,^resize_inode"),
    load: full(),
  },
  {
    name: "ext4 with fast_commit",
    size: "96M",
    ...ext4(4096, "fast_commit", "-J", "size=16,fast_commit_size=2048"),
    load: full("--fast", "--sync", "0.9"),
    fastCommits: true,
  },
  {
    name: "ext4 with fast_commit, 1 KiB blocks, a small journal",
    size: "96M",
    ...ext4(1024, "fast_commit,^metadata_csum", "-J", "size=4"),
    load: full("--fast", ...small),
    fastCommits: true,
  },
  {
    name: "ext4 with fast_commit, a mixed load",
    size: "96M",
    ...ext4(4096, "fast_commit", "-J", "size=8"),
    load: full(),
    fastCommits: true,
  },
];

/** Bytes that must be free in memory for it to hold the images: their fsyncs are cheap there. */
const roomInMemory = 3 * 2 ** 30;

/** A folder on an XFS with reflinks, made for the tests. */
export async function reflinkFolder(): Promise<string> {
  const memory = "/dev/shm";
  const inMemory = existsSync(memory) && statfsSync(memory).bavail * statfsSync(memory).bsize > roomInMemory;
  const folder = workFolder("live", inMemory ? memory : tmpdir());
  const image = join(folder, "xfs");
  await run("truncate", ["-s", "16G", image]);
  await run("mkfs.xfs", ["-q", "-m", "reflink=1", image]);
  const place = join(folder, "images");
  await mount(image, place, "loop,noatime");
  return place;
}

/** A copy of one moment, in no time. Both lie in a folder from reflinkFolder. */
export async function cloneImage(from: string, to: string): Promise<void> {
  await run("cp", ["--reflink=always", from, to]);
}

/** How long a guest works before and between two copies, ms: from `least` to `least + spread`. */
const pause = { least: 150, spread: 450 };

/** How many files and directories a guest has made before the first copy. */
const LEAST_FILES = 80;

function files(folder: string): number {
  // What goes while find looks is told as an error.
  return spawnSync("find", [folder, "-printf", "x"], { encoding: "latin1" }).stdout.length;
}

/** Lets a guest work on a new file system and copies its image `count` times meanwhile. Returns the copies. */
export async function liveImages(recipe: LiveRecipe, folder: string, count: number): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const image = join(folder, "live");
  await run("truncate", ["-s", recipe.size, image]);
  await run("mke2fs", ["-q", "-F", ...recipe.mke2fs, image]);
  const loop = await loopDevice(image);
  const guest = join(folder, "guest");
  const unmount = await mount(loop.device, guest, ["noatime", recipe.mount].filter(Boolean).join(","));
  const program = join(import.meta.dirname, "../oracle/load.py");
  const load = spawn("python3", [program, guest, ...recipe.load], { stdio: ["ignore", "pipe", "pipe"] });
  const forget = endWithTests(load);
  let errors = "";
  load.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const ended = new Promise((resolve) => load.on("close", resolve));
  const copies: string[] = [];
  try {
    await Promise.race([new Promise((resolve) => load.stdout.once("data", resolve)), ended]);
    // On a busy machine it takes its time.
    while (load.exitCode === null && files(guest) < LEAST_FILES) await sleep(50);
    for (let i = 0; i < count; i++) {
      await sleep(pause.least + Math.random() * pause.spread);
      const copy = join(folder, `copy-${i}`);
      await cloneImage(image, copy);
      copies.push(copy);
    }
    if (load.exitCode !== null || errors) throw new Error(`the load ended: ${errors}`);
  } finally {
    load.kill("SIGKILL");
    await ended;
    forget();
    unmount();
    loop.free();
  }
  return copies;
}

/** A copy that the kernel recovered and shows read-only. */
export interface Recovered {
  readonly folder: string;
  /** When the recovery began, nanoseconds since 1970. */
  readonly started: bigint;
  remove(): void;
}

/** The kernel's clock of file times lags by up to a tick (ktime_get_coarse_real_ts64), ms. */
const tick = 20;

/** What mount(8) says of EUCLEAN. */
const REFUSED = /Structure needs cleaning|probably corrupted filesystem/;

/**
 * Lets the kernel recover an image (which it changes), and shows it read-only. Undefined: the kernel refuses, as it does
 * some images with fast commits of its own making.
 */
export async function recover(image: string, folder: string): Promise<Recovered | undefined> {
  const loop = await loopDevice(image);
  await sleep(tick);
  const started = BigInt(Date.now()) * 1_000_000n;
  await sleep(tick);
  let unmount: () => void;
  try {
    unmount = await mount(loop.device, folder, "noatime");
  } catch (error) {
    loop.free();
    if (REFUSED.test(String(error))) return undefined;
    throw error;
  }
  await run("mount", ["-o", "remount,ro", folder]);
  return {
    folder,
    started,
    remove: onEnd(() => {
      unmount();
      loop.free();
    }),
  };
}

/** Whether the file system was in use when the image was taken (EXT4_FEATURE_INCOMPAT_RECOVER). */
export async function needsRecovery(image: string): Promise<boolean> {
  return (await run("dumpe2fs", ["-h", image])).includes("needs_recovery");
}
