/**
 * The process that hosts the tap: it lives as long as the supervisor, so that guests whose disks are at the tap notice
 * nothing of a server that dies or is replaced. What guests write, it tells to whatever server listens.
 */
import { FeedServer } from "../capture/feed/feed-server.js";
import type { FeedDisk } from "../capture/feed/frames.js";
import { isLocal, nbdUrl, parseListenAddress } from "./listen-address.js";
import type { FromTapProcess, TapProcessOptions, ToTapProcess } from "./tap-process-messages.js";
import { Tapping } from "./tapping.js";

/** QEMU's own, unless `log-sector-size` says otherwise. */
const LOG_SECTOR = 512;

function tell(message: FromTapProcess, then: () => void = () => {}): void {
  if (process.connected) process.send?.(message, then);
}

function end(code: number): void {
  process.exit(code);
}

class TapHost {
  readonly #tapping: Tapping;
  readonly #feed: FeedServer;
  /** By their exports. */
  readonly #disks = new Map<string, FeedDisk>();
  readonly #options: TapProcessOptions;

  constructor(options: TapProcessOptions) {
    this.#options = options;
    this.#feed = new FeedServer(options.feed);
    this.#tapping = new Tapping({
      limits: options.limits,
      log: (line) => tell({ kind: "log", line }),
      consume: (name, records) => {
        const disk = this.#disks.get(name);
        return disk && this.#feed.send(disk.number, records);
      },
      onDeath: ({ message }) => tell({ kind: "log", line: `the tap failed: ${message}` }, () => end(1)),
    });
  }

  /** Returns where the disks are. Throws errors of one line. */
  async start(): Promise<string[]> {
    const { disks, listen } = this.#options;
    await this.#feed.start();
    for (const { name, guest, disk, path } of disks) {
      const size = await this.#tapping
        .add({ kind: "image", name, path, isReadOnly: false, isCaptured: true })
        .catch((error: NodeJS.ErrnoException) => {
          throw error.code
            ? new Error(`${path}: cannot be opened for writing by the tap (${error.code})`)
            : error;
        });
      this.#tell(name, { guest, disk, size, capture: "tap" });
      const log = `${name}.log`;
      await this.#tapping.add({ kind: "log", name: log, size, sectorSize: LOG_SECTOR });
      this.#tell(log, { guest, disk, size, capture: "log" });
    }
    const urls: string[] = [];
    for (const text of listen) {
      const bound = await this.#tapping.listen(parseListenAddress(text));
      if (!isLocal(bound)) {
        const line = `${nbdUrl(bound, "")}: whoever reaches this address can read and write the disks`;
        tell({ kind: "log", line });
      }
      urls.push(...disks.map(({ name }) => nbdUrl(bound, name)));
    }
    return urls;
  }

  async stop(): Promise<void> {
    await this.#tapping.stop();
    await this.#feed.stop();
  }

  #tell(name: string, disk: Omit<FeedDisk, "number">): void {
    this.#disks.set(name, { number: this.#disks.size, ...disk });
    this.#feed.setDisks([...this.#disks.values()]);
  }
}

/** Runs until the supervisor says otherwise, or is no more. */
export function runTapProcess(): void {
  let host: TapHost | undefined;
  const stop = (): void => {
    (host?.stop() ?? Promise.resolve()).then(
      () => end(0),
      () => end(1),
    );
  };
  // They are the supervisor's, though a terminal or a service manager sends them to all processes.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"] as const) process.on(signal, () => {});
  process.on("disconnect", stop);
  process.on("message", (message: ToTapProcess) => {
    if (message.kind === "stop") {
      stop();
      return;
    }
    host = new TapHost(message.options);
    host.start().then(
      (urls) => tell({ kind: "ready", urls }),
      ({ message: why }: Error) => tell({ kind: "refused", message: why }, () => end(1)),
    );
  });
}
