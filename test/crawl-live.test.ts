/** A map of names that is crawled while the guest goes on, and kept current by what its journal shows. */
import { spawn, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import type { Follower } from "../src/filesystems/follower.js";
import { crawlStart, followFileSystem } from "../src/filesystems/formats.js";
import { openRawImage } from "../src/images/raw.js";
import { compareIndexes } from "../src/inference/compare-indexes.js";
import type { InodeIndex } from "../src/inference/inode-index.js";
import { VolumeEvents } from "../src/inference/volume-events.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { expectSame, told, walk } from "./support/crawl-walk.js";
import { cleanUp, endWithTests, loopDevice, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import { imageDirectory } from "./support/journal-images.js";

vi.setConfig({ testTimeout: 180_000 });

const memory = imageDirectory();
onEnd(() => rmSync(memory, { recursive: true, force: true }));
const folder = workFolder("crawl-live", memory);
const built = join(import.meta.dirname, "../dist/daemon/crawling.js");
const { Crawling } = (await import(built)) as typeof import("../src/daemon/crawling.js");

afterAll(cleanUp);

/** ms that the guest works for, and after which the volume is taken for one that had to be opened afresh. */
const WORKS = 5000;
/** ms more after which that is over whatever has been crawled. */
const LATEST = 60_000;
const REOPENED_EVERY = 1200;

/** Follows an image and has it crawled, as the daemon does. */
class Watcher {
  readonly events: VolumeEvents<InodeIndex>;
  readonly problems: string[] = [];
  crawls = 0;
  transactions = 0;
  /** The last of them; undefined: none since the volume was opened. */
  sequence: number | undefined;
  /** What was seen last, and what was crawled when, for whoever waits in vain or finds something wrong. */
  seen = "nothing";
  readonly history: string[] = [];
  #published = 0;
  readonly #image: string;
  readonly #crawling = new Crawling((line) => this.problems.push(line));
  #follower: Follower | undefined;

  constructor(image: string) {
    this.#image = image;
    this.events = new VolumeEvents<InodeIndex>({
      crawl: () => void this.#crawl(),
      compare: compareIndexes,
      publish: (events) => {
        this.#published += events.length;
      },
      publishGap: () => {},
    });
    this.#open();
    this.events.prepare();
  }

  get published(): number {
    return this.#published;
  }

  /** Whether there was something to see. */
  look(): boolean {
    const found = this.#follower?.look();
    if (found === undefined) return false;
    this.seen = "reopen" in found ? `to be opened afresh: ${found.reopen}` : `${found.steps.length} steps`;
    if ("reopen" in found) {
      this.history.push(`${this.seen} after ${this.sequence}`);
      this.#open();
      this.events.reopened(found.reopen);
      return true;
    }
    for (const { commit, changes, seconds, nanoseconds } of found.steps) {
      this.transactions++;
      const { sequence } = commit;
      this.sequence = sequence;
      this.events.take({ changes, sequence, seconds, nanoseconds }, performance.now());
    }
    return found.steps.length > 0;
  }

  stop(): Promise<void> {
    return this.#crawling.stop();
  }

  #open(): void {
    this.sequence = undefined;
    this.#follower = followFileSystem(openRawImage(this.#image), new BlockCache(1 << 20), () => {});
  }

  async #crawl(): Promise<void> {
    const crawl = ++this.crawls;
    const index = await this.#crawling.crawl({ name: "guest", images: [this.#image] }, "sda");
    this.history.push(`crawl ${crawl} of ${this.crawls} done at ${this.sequence}`);
    if (crawl === this.crawls) this.events.crawled(index, { sequence: 0, seconds: 0, nanoseconds: 0 });
  }
}

test.each([
  { name: "ext4", make: ["-t", "ext4", "-J", "size=16"], load: ["--extents"] },
  {
    name: "ext4 of 1 KiB blocks with a small journal",
    make: ["-t", "ext4", "-b", "1024", "-J", "size=2"],
    load: ["--extents", "--block", "1024"],
  },
  // No small journal: Linux' thread that commits waits for itself where inline data has to leave its inode for a block
  // while there is no room in the log (ext4_do_writepages), and with it whoever calls sync(2).
  {
    name: "ext4 of 1 KiB blocks with inline data",
    make: ["-t", "ext4", "-b", "1024", "-O", "inline_data", "-J", "size=16"],
    load: ["--extents", "--block", "1024"],
  },
])(
  "$name: after crawls of a guest at work, the map is what the kernel shows at the end",
  async ({ name, make, load }) => {
    const image = join(folder, name.replaceAll(/\W/g, "-"));
    await run("truncate", ["-s", "96M", image]);
    await run("mke2fs", ["-q", "-F", ...make, image]);
    const loop = await loopDevice(image);
    const inside = `${image}.guest`;
    const unmount = await mount(loop.device, inside, "noatime");
    const watcher = new Watcher(image);
    const program = join(import.meta.dirname, "oracle/load.py");
    const guest = spawn("python3", [program, inside, "--seconds", "120", ...load], {
      stdio: "ignore",
      detached: true,
    });
    const forget = endWithTests(guest);
    const ended = new Promise((resolve) => guest.on("close", resolve));
    try {
      const end = performance.now() + WORKS;
      let reopenAt = performance.now() + REOPENED_EVERY;
      // On a busy machine a crawl takes its time, and so does the guest.
      const isEnough = () => watcher.crawls > 2 && watcher.transactions > 20 && watcher.published > 100;
      while (performance.now() < end || (!isEnough() && performance.now() < end + LATEST)) {
        watcher.look();
        if (performance.now() > reopenAt && watcher.events.index !== undefined) {
          watcher.history.push(`crawled again after ${watcher.sequence}`);
          watcher.events.reopened(undefined);
          reopenAt = performance.now() + REOPENED_EVERY;
        }
        await sleep(2);
      }
      expect(guest.exitCode).toBeNull();
      // Its workers, too, each with the call that it is in.
      process.kill(-(guest.pid as number), "SIGKILL");
      await ended;
      while (spawnSync("pgrep", ["-f", inside]).status === 0) await sleep(10);
      await run("sync", ["-f", inside]);
      const latest = performance.now() + LATEST;
      const isBusy = () => watcher.look() || watcher.events.index === undefined;
      for (let quiet = 0; quiet < 50; quiet = isBusy() ? 0 : quiet + 1) {
        if (performance.now() > latest)
          throw new Error(
            `no rest: crawls ${watcher.crawls}, seen last: ${watcher.seen}, ${watcher.problems}`,
          );
        await sleep(2);
      }
      // Opened afresh, the disk has nothing newer.
      const { sequence } = crawlStart(openRawImage(image), new BlockCache(1 << 20), () => {}) ?? {};
      expect(watcher.sequence ?? sequence).toBe(sequence);
      const expected = walk(inside);
      expect(expected.length).toBeGreaterThan(20);
      try {
        expectSame(watcher.events.index as InodeIndex, expected);
      } catch (error) {
        throw new Error(
          `${watcher.history.join("; ")}; at ${sequence}; ${watcher.problems}\n${(error as Error).message}`,
          {
            cause: error,
          },
        );
      }
      expect(watcher.crawls).toBeGreaterThan(2);
      expect(watcher.transactions).toBeGreaterThan(20);
      expect(watcher.published).toBeGreaterThan(100);
      expect(told(watcher.events.index as InodeIndex).length).toBe(expected.length);
    } finally {
      guest.kill("SIGKILL");
      await ended;
      forget();
      await watcher.stop();
      unmount();
      loop.free();
    }
  },
);
