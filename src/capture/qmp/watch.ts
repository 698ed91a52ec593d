/**
 * Keeps the disks of a running QEMU readable, and makes nothing else there: no mirror, so the guest writes as fast as
 * alone, and snapshots and block jobs go on. Raw files are read themselves, other formats by an export of QEMU's.
 *
 * A snapshot, a commit or a mirror that ends has the disk go on by another node. QEMU has an export go along then
 * (bdrv_replace_node moves all parents of a node), but a file that was read itself may be one that does not change any
 * more, and no event tells of it all: so QEMU is asked.
 */
import type { EnterOptions, GuestDisk, WatchedGuest } from "./attachment.js";
import { clearExports } from "./clearing.js";
import { enter, leave } from "./entering.js";
import { addExport, exportUrl, startServer } from "./exports.js";
import { disksInShort, guestDisks, isChosen, readableFile } from "./guest-disks.js";
import { list, text } from "./json.js";
import { namesOf, type QmpClient, type QmpEvent, told } from "./qmp-client.js";
import type { Session } from "./session.js";

/** ms between two questions; and after one of which nothing came. */
const EVERY = 1000;
const RETRY = 5000;
/** ms for which an export stays that is not to be read by any more: who reads it has to be told first. */
const GRACE = 5000;
/** What jobs put above a disk while they run: the bytes are those of what is below. */
const FILTERS = new Set(["mirror_top", "commit_top", "copy-before-write", "copy-on-read"]);

/** Keeps a guest's disks readable. Throws QmpError, one line, and has changed nothing then. */
export function watchGuest(options: EnterOptions): Promise<WatchedGuest> {
  return enter(options, async ({ client, session, disks }) => {
    const watched = new Watched(client, options, session);
    await watched.begin(disks);
    return watched;
  });
}

interface Readable {
  readonly disk: GuestDisk;
  readonly image: string;
}

class Watched implements WatchedGuest {
  readonly #client: QmpClient;
  readonly #options: EnterOptions;
  readonly #session: Session;
  readonly #exports: Exports;
  #disks: readonly Readable[] = [];
  /** As they were when they were made readable, and whether that has to be done again all the same. */
  #inShort = "";
  #isStale = false;
  #timer: NodeJS.Timeout | undefined;
  /** Changes in QEMU are made one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #isEnding = false;
  /** What was wrong last; said once. */
  #problem = "";
  /** Why the guest is going to end; "" if it is not. */
  #farewell = "";
  #lost: string | undefined;
  #moved: (images: readonly string[]) => void = () => {};
  #gone: (reason: string) => void = () => {};

  constructor(client: QmpClient, options: EnterOptions, session: Session) {
    this.#client = client;
    this.#options = options;
    this.#session = session;
    this.#exports = new Exports(client, options.exportSocket, session);
    client.onEvent = (event) => this.#take(event);
    void client.closed.then((reason) => this.#closed(reason));
  }

  get images(): readonly string[] {
    return this.#disks.map(({ image }) => image);
  }

  async begin(disks: readonly GuestDisk[]): Promise<void> {
    try {
      this.#disks = await this.#readable(disks);
    } catch (error) {
      this.#isEnding = true;
      throw error;
    }
    this.#askIn(EVERY);
  }

  onMoved(listener: (images: readonly string[]) => void): void {
    this.#moved = listener;
  }

  onLost(listener: (reason: string) => void): void {
    this.#gone = listener;
    if (this.#lost !== undefined) listener(this.#lost);
  }

  detach(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isEnding) return;
      this.#isEnding = true;
      clearTimeout(this.#timer);
      await leave(this.#client, this.#options, this.#session);
    });
  }

  #inTurn<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => {});
    return result;
  }

  #askIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      void this.#inTurn(() => this.#ask()).finally(() => {
        if (!this.#isEnding) this.#askIn(this.#problem === "" ? EVERY : RETRY);
      });
    }, ms);
  }

  /** Never rejects. */
  async #ask(): Promise<void> {
    if (this.#isEnding) return;
    const { disks: names, log } = this.#options;
    try {
      // Before all else: what changes meanwhile is seen the next time.
      const inShort = await disksInShort(this.#client);
      if (inShort !== this.#inShort || this.#isStale) {
        this.#isStale = false;
        const disks = await guestDisks(this.#client);
        await this.#use(disks.filter((disk) => isChosen(disk, names)));
        this.#inShort = inShort;
      }
      await this.#exports.sweep();
      this.#problem = "";
    } catch (error) {
      const { message } = error as Error;
      if (!this.#isEnding && message !== this.#problem) log(message);
      this.#isStale = true;
      this.#problem = message;
    }
  }

  async #use(disks: readonly GuestDisk[]): Promise<void> {
    // Until one is plugged in again, there is nothing to tell.
    if (disks.length > 0) {
      const before = this.images.join("\n");
      this.#disks = await this.#readable(disks);
      if (this.images.join("\n") !== before) this.#moved(this.images);
    }
    // A device that was pulled out has its node until nobody uses that.
    await this.#exports.keep(new Set(disks.map(({ device }) => device)));
  }

  /** Makes disks readable that are not. Throws QmpError. */
  async #readable(disks: readonly GuestDisk[]): Promise<readonly Readable[]> {
    const readable: Readable[] = [];
    for (const disk of disks) {
      const former = this.#disks.find((one) => one.disk.device === disk.device);
      const isCovered = FILTERS.has(disk.format) && former?.disk.filename === disk.filename;
      const file = readableFile(isCovered ? former.disk : disk);
      if (file === undefined) readable.push({ disk, image: await this.#exports.urlOf(disk) });
      else {
        readable.push({ disk: isCovered ? former.disk : disk, image: file });
        this.#exports.unneeded(disk.device);
      }
    }
    return readable;
  }

  #take({ event, data }: QmpEvent): void {
    switch (event) {
      case "BLOCK_EXPORT_DELETED":
        if (this.#isEnding || !this.#exports.ended(text(data, "id") ?? "")) return;
        this.#isStale = true;
        this.#askIn(0);
        return;
      case "BLOCK_JOB_COMPLETED":
      case "DEVICE_DELETED":
        if (!this.#isEnding) this.#askIn(0);
        return;
      case "SHUTDOWN":
        this.#farewell = `the guest was switched off (${told(text(data, "reason") ?? "no reason told")})`;
        return;
      // A machine that stays after it was switched off (-no-shutdown) can be started again.
      case "RESET":
      case "RESUME":
        this.#farewell = "";
    }
  }

  #closed(reason: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    clearTimeout(this.#timer);
    void leave(this.#client, this.#options, this.#session)
      .catch((error: Error) => this.#options.log(error.message))
      .finally(() => {
        this.#lost = this.#farewell || reason;
        this.#gone(this.#lost);
      });
  }
}

interface Export {
  readonly name: string;
  /** The file that tells of writes is the one that QEMU wrote to then; after a snapshot, looks alone tell. */
  readonly url: string;
  /** That it was made for; QEMU may have had it go along since. */
  node: string;
  /** When it may end, by performance.now(). */
  until: number;
}

/** The exports by which a guest's disks are read. QEMU's server runs as long as there is one. */
class Exports {
  readonly #client: QmpClient;
  readonly #socket: string;
  readonly #session: Session;
  readonly #byDevice = new Map<string, Export>();
  #last = 0;
  #isServing = false;

  constructor(client: QmpClient, socket: string, session: Session) {
    this.#client = client;
    this.#socket = socket;
    this.#session = session;
  }

  /** Where a disk can be read. Another URL if what was there is another disk by now. Throws QmpError. */
  async urlOf({ device, node, file }: GuestDisk): Promise<string> {
    const there = this.#byDevice.get(device);
    if (there !== undefined && (there.node === node || (await this.#nodeOf(there)) === node)) {
      there.node = node;
      there.until = Number.POSITIVE_INFINITY;
      return there.url;
    }
    if (there !== undefined) await this.#end(device, there);
    if (!this.#isServing) await startServer(this.#client, this.#socket);
    this.#isServing = true;
    const name = this.#session.name("e", this.#last++);
    await addExport(this.#client, name, node);
    const url = exportUrl(name, this.#socket, file);
    this.#byDevice.set(device, { name, url, node, until: Number.POSITIVE_INFINITY });
    return url;
  }

  /** A device's disk is read otherwise from now on. */
  unneeded(device: string): void {
    const there = this.#byDevice.get(device);
    if (there?.until === Number.POSITIVE_INFINITY) there.until = performance.now() + GRACE;
  }

  /** Ends those of all other devices at once. Throws QmpError. */
  async keep(devices: ReadonlySet<string>): Promise<void> {
    for (const [device, there] of [...this.#byDevice])
      if (!devices.has(device)) await this.#end(device, there);
  }

  /** Ends those that have not been needed for a while, and the server if it has nothing to serve. Throws QmpError. */
  async sweep(): Promise<void> {
    const now = performance.now();
    for (const [device, there] of [...this.#byDevice]) if (there.until <= now) await this.#end(device, there);
    if (!this.#isServing || this.#byDevice.size > 0) return;
    this.#isServing = false;
    const others = await namesOf(this.#client, "query-block-exports", "type");
    if (!others.includes("nbd")) await this.#client.execute("nbd-server-stop").catch(() => {});
  }

  /** Notes that one ended by itself; false if it is none that is there. */
  ended(name: string): boolean {
    for (const [device, there] of this.#byDevice)
      if (there.name === name) return this.#byDevice.delete(device);
    return false;
  }

  async #end(device: string, { name }: Export): Promise<void> {
    this.#byDevice.delete(device);
    await clearExports(this.#client, (one) => one === name);
  }

  /** The node that it is of now. */
  async #nodeOf({ name }: Export): Promise<string | undefined> {
    const all = list(await this.#client.execute("query-block-exports"));
    return text(
      all.find((one) => text(one, "id") === name),
      "node-name",
    );
  }
}
