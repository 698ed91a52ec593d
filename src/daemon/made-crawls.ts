/** Crawls that were made before, of the disks of guests: events go on from them where the guest's journal still allows it. */
import { realpathSync } from "node:fs";
import { basename, resolve } from "node:path";
import { diskName } from "../cloud/mount-table.js";
import type { Log } from "../images/image.js";
import { type CrawlFileHead, inOneLine } from "../inference/crawl-file/reader.js";
import { isAfter, type Position } from "../versions/commit.js";
import { crawlFileHead, type MadeCrawl } from "./crawl-file.js";
import type { ResumePoint } from "./event-hub.js";
import type { GuestSpec } from "./guest-name.js";
import { parseImage } from "./image-name.js";
import { volumeKey } from "./updates.js";
import { UserError } from "./user-error.js";

/** A crawl of a guest's volume. */
export interface GuestCrawl extends MadeCrawl {
  readonly guest: string;
  /** As the guest's tree has it: `sdb1`. */
  readonly name: string;
}

/** Reads arguments `[NAME=]FILE`. Throws UserError for a file that is none, or of no disk of these guests. */
export function parseCrawls(args: readonly string[], guests: readonly GuestSpec[]): GuestCrawl[] {
  const crawls = new Map<string, GuestCrawl>();
  for (const argument of args) {
    const equals = argument.indexOf("=");
    const named = guests.find(({ name }) => equals > 0 && name === argument.slice(0, equals));
    const path = resolve(named === undefined ? argument : argument.slice(equals + 1));
    const head = headOf(path);
    const { guest, disk } = diskOf(path, head, named === undefined ? guests : [named]);
    for (const volume of head.volumes) {
      // In the file, the disk is called sda.
      const name = `${diskName(disk)}${volume.name.slice(diskName(0).length)}`;
      crawls.set(volumeKey(guest, name), { guest, name, path, volume });
    }
  }
  return [...crawls.values()];
}

function headOf(path: string): CrawlFileHead {
  try {
    return crawlFileHead(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === "ENOENT" ? "there is no such file" : message;
    throw new UserError(`${path}: no crawl that slashcloud has written (${why}); leave --crawl out`);
  }
}

function diskOf(path: string, { image }: CrawlFileHead, guests: readonly GuestSpec[]) {
  const crawled = realPath(image);
  for (const { name, images } of guests) {
    const disk = images.findIndex((one) => realPath(one) === crawled);
    if (disk >= 0) return { guest: name, disk };
  }
  const [only] = guests;
  if (guests.length === 1 && only?.images.length === 1) return { guest: only.name, disk: 0 };
  throw new UserError(
    `${path}: a crawl of ${inOneLine(image)}, which is no disk of these guests; if it is the only disk of one, write NAME=${basename(path)}`,
    2,
  );
}

function realPath(image: string): string {
  const { path } = parseImage(image);
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** The crawls, each until it has been used. */
export class MadeCrawls {
  readonly #crawls: Map<string, GuestCrawl>;
  readonly #log: Log;
  /** Those that are to take the place of the next crawl. */
  readonly #used = new Map<string, MadeCrawl>();

  constructor(crawls: readonly GuestCrawl[], log: Log) {
    this.#crawls = new Map(crawls.map((crawl) => [volumeKey(crawl.guest, crawl.name), crawl]));
    this.#log = log;
  }

  /** The guest's volumes of which there are crawls. */
  volumes(guest: string): string[] {
    return [...this.#crawls.values()].flatMap((crawl) => (crawl.guest === guest ? [crawl.name] : []));
  }

  /** Where to go on with the crawl of a volume: at a transaction, or where nothing has been written since. */
  points(guest: string, volume: string, told: Position | undefined): ResumePoint[] {
    const crawl = this.#crawls.get(volumeKey(guest, volume));
    if (crawl === undefined) return [];
    const { uuid, transaction, rest } = crawl.volume;
    const point = { told, uuid, crawl: crawl.path, map: undefined, parts: [] };
    return [
      ...(transaction === undefined ? [] : [{ ...point, after: transaction }]),
      ...(rest === undefined ? [] : [{ ...point, after: undefined, rest }]),
    ];
  }

  /**
   * A volume is followed, from a point if that was possible: the next crawl of it is the one that has been made, if it
   * goes on from that; if it does not, a line in the log says why.
   */
  use(guest: string, volume: string, uuid: string, point: ResumePoint | undefined): void {
    const key = volumeKey(guest, volume);
    const crawl = this.#crawls.get(key);
    this.#crawls.delete(key);
    if (crawl === undefined) return;
    const { path } = crawl;
    if (point?.crawl === path) this.#used.set(key, crawl);
    else this.#log(`${key}: ${path} is not begun with: ${reason(crawl, uuid, point)}`, { guest, volume });
  }

  /** The crawl that takes the place of the next one, once. */
  take(guest: string, volume: string): MadeCrawl | undefined {
    const key = volumeKey(guest, volume);
    const crawl = this.#used.get(key);
    this.#used.delete(key);
    return crawl;
  }
}

function reason({ volume }: GuestCrawl, uuid: string, point: ResumePoint | undefined): string {
  if (volume.uuid !== uuid) return `it is of another file system (UUID ${volume.uuid}, not ${uuid})`;
  const { transaction } = volume;
  if (point?.after !== undefined && (transaction === undefined || !isAfter(transaction, point.after)))
    return "there is a map of names that is newer";
  if (point?.after !== undefined) return "events go on from before it was made";
  return transaction === undefined
    ? "the file system has been written to since"
    : `its transaction ${transaction} is no longer in the guest's journal`;
}
