/** `slashcloud crawl`: all inodes, names and extents of a disk, counted or written to a file. */
import { readFileSync } from "node:fs";
import { crawlDisk } from "../daemon/crawl-disk.js";
import type { CrawledVolumeSummary } from "../daemon/crawl-disk-messages.js";
import { resolveImage } from "../daemon/image-name.js";
import { complain, write } from "./output.js";
import { type Column, tableText } from "./table.js";

export interface CrawlOptions {
  readonly output?: string;
  readonly json?: boolean;
}

/** Exit code after SIGINT, as of a shell. */
const INTERRUPTED = 130;

/** Crawls, and prints what there was. Returns the exit code. Throws UserError. */
export async function crawl(image: string, { output, json }: CrawlOptions): Promise<number> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  const progress = new Progress();
  try {
    const volumes = await crawlDisk({
      image: resolveImage(image),
      output,
      tool: tool(),
      signal: stop.signal,
      onProgress: (volume, inodes, names) => progress.show(`${volume}: ${inodes} inodes, ${names} names`),
      log: (line) => {
        progress.clear();
        complain(line);
      },
    });
    progress.clear();
    write(json ? `${JSON.stringify(volumes, undefined, 2)}\n` : tableText(COLUMNS, volumes));
    for (const { volume, type, problem } of volumes)
      if (type !== "" && problem !== "") complain(`${volume}: ${problem}`);
    return volumes.some(({ inodes, problem }) => inodes > 0 && problem === "") ? 0 : 1;
  } catch (error) {
    progress.clear();
    if (stop.signal.aborted) return INTERRUPTED;
    throw error;
  }
}

/** One line of a terminal, written over again and again; nothing elsewhere. */
class Progress {
  readonly #isShown = process.stderr.isTTY === true;
  #isThere = false;

  show(line: string): void {
    if (!this.#isShown) return;
    process.stderr.write(`\r\x1b[K${line}`);
    this.#isThere = true;
  }

  clear(): void {
    if (this.#isThere) process.stderr.write("\r\x1b[K");
    this.#isThere = false;
  }
}

/** The program and its version. */
function tool(): string {
  const { name, version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return `${name} ${version}`;
}

const COLUMNS: readonly Column<CrawledVolumeSummary>[] = [
  ["VOLUME", (row) => row.volume],
  ["TYPE", (row) => row.type || "unknown"],
  ["INODES", (row) => String(row.inodes)],
  ["NAMES", (row) => String(row.names)],
  ["EXTENTS", (row) => String(row.extents)],
  ["BAD", (row) => String(row.bad)],
  ["SECONDS", (row) => row.seconds.toFixed(2)],
  ["LABEL", (row) => row.label || "-"],
];
