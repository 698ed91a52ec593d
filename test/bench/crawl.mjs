// A crawl of a volume: how long it takes, and what the map of names that it makes takes of memory.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const dist = new URL("../../dist/", import.meta.url);

/**
 * Crawls a volume of an image, as often as `repeats` says; `before` is called before each. Returns figures of the
 * median: seconds, inodes, bytes of the map per inode, and the resident megabytes that this process has afterwards.
 */
export async function crawl(image, { volume = "sda", repeats = 1, before = () => {} } = {}) {
  const { Crawling } = await import(new URL("daemon/crawling.js", dist).href);
  const crawling = new Crawling((line) => console.error(line));
  const times = [];
  let inodes = 0;
  let bytes = 0;
  for (let repeat = 0; repeat < repeats; repeat++) {
    before();
    const start = performance.now();
    const index = await crawling.crawl({ name: "bench", images: [image] }, volume);
    times.push((performance.now() - start) / 1000);
    inodes = [...index.inodes()].length;
    bytes = index.bytes;
  }
  await crawling.stop();
  const seconds = times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
  return { seconds, inodes, bytesEach: bytes / inodes, resident: process.memoryUsage.rss() / 2 ** 20 };
}

/** The figures as Markdown. */
export function report({ seconds, inodes, bytesEach, resident }) {
  const perMillion = (seconds / inodes) * 1e6;
  return (
    `A crawl of ${inodes} inodes: ${seconds.toFixed(2)} s (${Math.round(inodes / seconds)} inodes/s, ` +
    `${perMillion.toFixed(2)} s per 1,000,000); the map of names: ${bytesEach.toFixed(1)} bytes an inode; ` +
    `resident memory of the process afterwards: ${resident.toFixed(0)} MB`
  );
}

// `node test/bench/crawl.mjs IMAGE [--volume sda1]` measures an image of one's own.
if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { values, positionals } = parseArgs({
    options: { volume: { type: "string" } },
    allowPositionals: true,
  });
  const [image] = positionals;
  if (image === undefined || !existsSync(image)) {
    console.error("crawl: name an image: node test/bench/crawl.mjs IMAGE [--volume sda1]");
    process.exit(2);
  }
  console.log(report(await crawl(resolve(image), { volume: values.volume ?? "sda" })));
}
