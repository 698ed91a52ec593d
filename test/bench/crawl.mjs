// A crawl of a volume: how long it takes, and what the map of names that it makes takes of memory.
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
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

/**
 * The same of `slashcloud crawl`, which writes what it finds to a file: seconds without and with that, bytes of the file, and
 * seconds until a map of names has been read from it.
 */
export async function crawlToFile(image) {
  const { crawlDisk } = await import(new URL("daemon/crawl-disk.js", dist).href);
  const { crawlFileHead, readCrawl } = await import(new URL("daemon/crawl-file.js", dist).href);
  const { IndexSink } = await import(new URL("inference/index-sink.js", dist).href);
  const folder = mkdtempSync(join(tmpdir(), "slashcloud-crawl-"));
  const output = join(folder, "crawl.bson.gz");
  const { signal } = new AbortController();
  const run = async (file) => {
    const start = performance.now();
    await crawlDisk({ image, output: file, tool: "bench", signal, onProgress: () => {}, log: console.error });
    return (performance.now() - start) / 1000;
  };
  try {
    const counted = await run(undefined);
    const written = await run(output);
    const { size } = statSync(output);
    const [volume] = crawlFileHead(output).volumes;
    const start = performance.now();
    await readCrawl({ path: output, volume }, new IndexSink(2 ** 32));
    return { counted, written, bytes: size, read: (performance.now() - start) / 1000 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The figures as Markdown. */
export function reportFile({ counted, written, bytes, read }) {
  return (
    `slashcloud crawl: ${counted.toFixed(2)} s counted, ${written.toFixed(2)} s written to a file of ` +
    `${(bytes / 2 ** 20).toFixed(1)} MB; a map of names read from that: ${read.toFixed(2)} s`
  );
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
  console.log(reportFile(await crawlToFile(resolve(image))));
}
