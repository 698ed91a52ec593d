/**
 * The process that hosts the tap: it lives as long as the supervisor, so that guests whose disks are at the tap notice
 * nothing of a server that dies or is replaced. What guests write, it tells to whatever server listens.
 */
import { FeedServer } from "../capture/feed/feed-server.js";
import type { FeedDisk } from "../capture/feed/frames.js";
import { diskName } from "../cloud/mount-table.js";
import type { Log } from "../images/image.js";
import type { QueueLimits } from "../queue/write-queue.js";
import type { WriteRecord } from "../queue/write-record.js";
import { AttachedGuests } from "./attached-guests.js";
import { ownFigures } from "./insight/process-figures.js";
import type { QueueFigures, TapFigures } from "./insight/supervisor-report.js";
import { isLocal, nbdUrl, parseListenAddress } from "./listen-address.js";
import { PipedDisks } from "./piped-disks.js";
import { Keepers, type TellKeeper } from "./tap-keepers.js";
import type { AttachRequest, TapProcessOptions, ToTapProcess } from "./tap-process-messages.js";
import { Tapping } from "./tapping.js";

/** QEMU's own, unless `log-sector-size` says otherwise. */
const LOG_SECTOR = 512;

/** Tells the keepers; set when the process begins. */
let keepers: Keepers;

const log: Log = (line, about) => keepers.tell({ kind: "log", line, about });

function answer(tell: TellKeeper, id: number, images: Promise<readonly string[]> | undefined): void {
  images?.then(
    (done) => tell({ kind: "done", id, images: done }),
    ({ message }: Error) => tell({ kind: "failed", id, message }),
  );
}

function end(code: number): void {
  process.exit(code);
}

/** Disks that guests reach by the tap; disks of running guests, mirrored to it; disks whose writes come by pipes. */
type Group = "tap" | "mirror" | "pipe";

class TapHost {
  /** Of disks that are at the tap, and of those that are mirrored to it. */
  #tapping: Tapping | undefined;
  #mirroring: Tapping | undefined;
  #attached: AttachedGuests | undefined;
  readonly #piped: PipedDisks;
  readonly #feed: FeedServer;
  readonly #disks: FeedDisks;
  readonly #options: TapProcessOptions;

  constructor(options: TapProcessOptions) {
    this.#options = options;
    this.#disks = new FeedDisks(options.unknownLife, (disks) => this.#feed.setDisks(disks));
    this.#feed = new FeedServer(options.feed, (disk, ranges) => this.#setMetadata(disk, ranges));
    this.#piped = new PipedDisks({
      limits: options.limits,
      offer: (name, disk) => this.#disks.set("pipe", name, disk),
      withdraw: (name) => this.#disks.delete("pipe", name),
      consume: (name, records) => this.#written("pipe", name, records),
      log,
    });
  }

  #setMetadata(number: number, ranges: Float64Array): void {
    const [group, name] = this.#disks.nameOf(number) ?? [];
    if (name === undefined) return;
    if (group === "pipe") this.#piped.setMetadata(name, ranges);
    else void (group === "tap" ? this.#tapping : this.#mirroring)?.setMetadata(name, ranges);
  }

  #written(group: Group, name: string, records: readonly WriteRecord[]): Promise<void> | undefined {
    const disk = this.#disks.get(group, name);
    return disk && this.#feed.send(disk.number, records);
  }

  #tap(group: Group, limits: Partial<QueueLimits>, used: (name: string, isUsed: boolean) => void): Tapping {
    return new Tapping({
      limits,
      log,
      used,
      consume: (name, records) => this.#written(group, name, records),
      onDeath: ({ message }) =>
        keepers.tell({ kind: "log", line: `the tap failed: ${message}`, about: { level: "error" } }, () =>
          end(1),
        ),
    });
  }

  /** Returns where the disks are. Throws errors of one line. */
  async start(): Promise<string[]> {
    const { limits } = this.#options;
    await this.#feed.start();
    await this.#piped.start(this.#options.pipes);
    if (this.#options.listen.length === 0) return [];
    const offered = new Map<string, ToldDisk>();
    // One that nobody uses may be written to by another way.
    const tapping = this.#tap("tap", limits, (name, isUsed) => {
      const disk = offered.get(name);
      if (isUsed && disk !== undefined) this.#disks.set("tap", name, disk);
      else this.#disks.delete("tap", name);
    });
    this.#tapping = tapping;
    return this.#offer(tapping, offered);
  }

  async #offer(tapping: Tapping, offered: Map<string, ToldDisk>): Promise<string[]> {
    const { disks, listen } = this.#options;
    for (const { name, guest, disk, path } of disks) {
      const size = await tapping
        .add({ kind: "image", name, path, isReadOnly: false, isCaptured: true, tellsData: false })
        .catch((error: NodeJS.ErrnoException) => {
          throw error.code
            ? new Error(`${path}: cannot be opened for writing by the tap (${error.code})`)
            : error;
        });
      offered.set(name, { guest, disk, size, capture: "tap" });
      const logged = `${name}.log`;
      await tapping.add({ kind: "log", name: logged, size, sectorSize: LOG_SECTOR });
      offered.set(logged, { guest, disk, size, capture: "log" });
    }
    const urls: string[] = [];
    for (const text of listen) {
      const bound = await tapping.listen(parseListenAddress(text));
      if (!isLocal(bound)) {
        const line = `${nbdUrl(bound, "")}: whoever reaches this address can read and write the disks`;
        log(line);
      }
      urls.push(...disks.map(({ name }) => nbdUrl(bound, name)));
    }
    return urls;
  }

  /** Returns where the guest's disks can be read. Throws errors of one line. */
  attach(request: AttachRequest): Promise<readonly string[]> {
    this.#attached ??= this.#attaching();
    return this.#attached.attach(request);
  }

  #attaching(): AttachedGuests {
    // Nothing may make a guest wait that knows nothing of it.
    this.#mirroring = this.#tap("mirror", { ...this.#options.limits, pressure: "data-drop" }, () => {});
    return new AttachedGuests({
      directory: this.#options.directory,
      tapping: this.#mirroring,
      offer: (name, disk) => this.#disks.set("mirror", name, disk),
      withdraw: (name) => this.#disks.delete("mirror", name),
      moved: (guest, images) => keepers.tellAll({ kind: "moved", guest, images }),
      gone: (guest, reason) => keepers.tellAll({ kind: "gone", guest, reason }),
      log,
    });
  }

  /** Throws errors of one line. */
  async detach(guest: string): Promise<void> {
    await this.#attached?.detach(guest);
  }

  /** How it is, with the queues of the disks whose writes are told. */
  async figures(): Promise<TapFigures> {
    const queues: QueueFigures[] = [];
    for (const [group, name, { guest, disk, capture }] of this.#disks.all()) {
      const counters =
        group === "pipe"
          ? this.#piped.counters(name)
          : await (group === "tap" ? this.#tapping : this.#mirroring)?.counters(name);
      if (counters !== undefined) queues.push({ guest, disk: diskName(disk), capture, counters });
    }
    return { process: ownFigures(), queues };
  }

  async stop(): Promise<void> {
    this.#piped.stop();
    await this.#attached?.stop();
    await Promise.all([this.#tapping?.stop(), this.#mirroring?.stop()]);
    await this.#feed.stop();
  }
}

/** What is known of a disk before its writes are told. */
type ToldDisk = Omit<FeedDisk, "number" | "unknownLife">;

/** The disks whose writes are told, by the tap that they are at and their exports. */
class FeedDisks {
  readonly #unknownLife: number;
  readonly #changed: (disks: readonly FeedDisk[]) => void;
  readonly #disks = new Map<string, FeedDisk>();
  #last = 0;

  constructor(unknownLife: number, changed: (disks: readonly FeedDisk[]) => void) {
    this.#unknownLife = unknownLife;
    this.#changed = changed;
  }

  get(group: Group, name: string): FeedDisk | undefined {
    return this.#disks.get(`${group} ${name}`);
  }

  *all(): Generator<[group: Group, name: string, disk: FeedDisk]> {
    for (const [key, disk] of this.#disks) {
      const at = key.indexOf(" ");
      yield [key.slice(0, at) as Group, key.slice(at + 1), disk];
    }
  }

  nameOf(number: number): [Group, string] | undefined {
    for (const [group, name, disk] of this.all()) if (disk.number === number) return [group, name];
    return undefined;
  }

  set(group: Group, name: string, disk: ToldDisk): void {
    this.#disks.set(`${group} ${name}`, { number: ++this.#last, unknownLife: this.#unknownLife, ...disk });
    this.#changed([...this.#disks.values()]);
  }

  delete(group: Group, name: string): void {
    if (this.#disks.delete(`${group} ${name}`)) this.#changed([...this.#disks.values()]);
  }
}

/** Runs until the supervisor says otherwise, or is no more, and no other has taken its place. */
export function runTapProcess(): void {
  let host: TapHost | undefined;
  let urls: readonly string[] = [];
  const stop = (): void => {
    (host?.stop() ?? Promise.resolve()).then(
      () => end(0),
      () => end(1),
    );
  };
  // They are the supervisor's, though a terminal or a service manager sends them to all processes.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"] as const) process.on(signal, () => {});
  const take = (message: ToTapProcess, tell: TellKeeper): void => {
    switch (message.kind) {
      case "start":
        host = new TapHost(message.options);
        host.start().then(
          (offered) => {
            urls = offered;
            tell({ kind: "ready", urls });
          },
          ({ message: why }: Error) => tell({ kind: "refused", message: why }, () => end(1)),
        );
        break;
      case "attach":
        answer(tell, message.id, host?.attach(message.request));
        break;
      case "detach":
        answer(
          tell,
          message.id,
          host?.detach(message.guest).then(() => []),
        );
        break;
      case "report":
        void host?.figures().then(
          (figures) => tell({ kind: "report", id: message.id, figures }),
          // The tap's thread has ended, and so does this process.
          () => {},
        );
        break;
      case "share":
        answer(
          tell,
          message.id,
          keepers.admit(message.path, { kind: "ready", urls }).then(() => []),
        );
        break;
      case "stop":
        stop();
        break;
    }
  };
  keepers = new Keepers({ take, left: stop });
}
