/** Crawls of many volumes: in one thread while they follow each other, with nothing left of those that are done. */
import { mkdirSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import type { Crawling } from "../src/daemon/crawling.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";

const folder = workFolder("crawling");

afterAll(cleanUp);

/** The built one: a thread needs a file that Node can run. */
const { Crawling: Built } = (await import(new URL("../dist/daemon/crawling.js", import.meta.url).href)) as {
  Crawling: typeof Crawling;
};

const openImages = (): string[] =>
  readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(folder) ? [path] : [];
    } catch {
      return [];
    }
  });

test("what waits is crawled by the thread that is there, which ends with the last", async () => {
  const source = join(folder, "source");
  mkdirSync(source);
  const images: string[] = [];
  for (let count = 1; count <= 4; count++) {
    writeFileSync(join(source, `file ${count}`), "");
    const image = join(folder, `${count}.img`);
    await run("truncate", ["-s", "8M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", source, image]);
    images.push(image);
  }
  let threads = 0;
  const started = (): void => void threads++;
  process.on("worker", started);
  const crawling = new Built(() => {});
  try {
    const spec = (image: string) => ({ name: "g", images: [image] });
    const wrong = crawling.crawl(spec(images[0]!), "sdz9");
    const blocks = crawling.crawlBlocks(spec(images[0]!), "sda");
    const found = images.map((image) => crawling.crawl(spec(image), "sda"));
    await expect(wrong).rejects.toThrow("there is no such volume any more");
    expect((await blocks).blocks).toBe(8192);
    const entries = (await Promise.all(found)).map((index) => index.toParts().parts);
    expect(entries).toHaveLength(4);
    expect(threads).toBe(1);
    for (let tries = 0; openImages().length > 0 && tries < 500; tries++) await sleep(10);
    expect(openImages()).toEqual([]);
    // One that comes later, whether or not the thread has ended by then.
    for (let later = 0; later < 3; later++) await crawling.crawl(spec(images[3]!), "sda");
    expect(threads).toBeGreaterThan(1);
    await crawling.stop();
    await expect(crawling.crawl(spec(images[3]!), "sda")).rejects.toThrow("crawls have been stopped");
  } finally {
    process.off("worker", started);
  }
});
