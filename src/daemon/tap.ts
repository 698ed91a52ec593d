/** The tap by itself: guests' disks by NBD, each write passed on to the image, and recorded if that is wanted. */
import { rmSync } from "node:fs";
import { RecordingWriter } from "../capture/recording/writer.js";
import { diskName } from "../cloud/mount-table.js";
import type { Log } from "../images/image.js";
import { isNamedElsewhere } from "../images/named-elsewhere.js";
import type { QueueCounters, QueueLimits } from "../queue/write-queue.js";
import type { WriteRecord } from "../queue/write-record.js";
import type { GuestSpec } from "./guest-name.js";
import { parseImage } from "./image-name.js";
import { isLocal, nbdUrl, parseListenAddress } from "./listen-address.js";
import type { PassedDisk } from "./tap-process-messages.js";
import { Tapping } from "./tapping.js";
import { UserError } from "./user-error.js";

export type { Pressure, QueueLimits } from "../queue/write-queue.js";

export interface TapOptions {
  readonly guests: readonly GuestSpec[];
  /** `unix:PATH` or `HOST:PORT`, each. */
  readonly listen: readonly string[];
  readonly isReadOnly: boolean;
  /** The file that the one disk's writes are recorded in. */
  readonly record: string | undefined;
  readonly limits: QueueLimits;
  readonly log: Log;
}

export interface Tap {
  /** Where each disk is, as an NBD URL, in the order of the guests. */
  readonly urls: readonly string[];
  /** Settles if it ends by itself, with the reason. */
  readonly died: Promise<Error>;
  /** Ends connections and the recording. Returns lines that tell what came of it. */
  stop(): Promise<string[]>;
}

/** Throws UserError, and other errors of one line. */
export async function tap({ guests, listen, isReadOnly, record, limits, log }: TapOptions): Promise<Tap> {
  const disks = tapDisks(guests);
  if (record !== undefined && disks.length !== 1)
    throw new UserError("--record takes the writes of one disk: start a tap for each", 2);
  const addresses = listen.map(parseListenAddress);
  let recorder: Recorder | undefined;
  let die: (why: Error) => void = () => {};
  const died = new Promise<Error>((resolve) => {
    die = resolve;
  });
  const consume = (_disk: string, records: readonly WriteRecord[]) => recorder?.write(records);
  const tapping = new Tapping({ limits, log, consume, onDeath: die });
  try {
    for (const { name, path } of disks) {
      const disk = { name, path, kind: "image", isReadOnly, isCaptured: record !== undefined } as const;
      const size = await tapping.add(disk).catch((error) => {
        throw refused(error, path);
      });
      if (record !== undefined) recorder = await Recorder.begin(record, size, log);
    }
    const urls: string[] = [];
    for (const address of addresses) {
      const bound = await tapping.listen(address);
      if (!isLocal(bound))
        log(`${nbdUrl(bound, "")}: whoever reaches this address can read and write the disks`);
      urls.push(...disks.map(({ name }) => nbdUrl(bound, name)));
    }
    return { urls, died, stop };
  } catch (error) {
    await tapping.stop();
    await recorder?.discard();
    throw error;
  }

  async function stop(): Promise<string[]> {
    const [counters] = [...(await tapping.stop()).values()];
    return recorder === undefined || counters === undefined ? [] : [await recorder.end(counters)];
  }
}

/**
 * The disks of guests, by the names of their exports: the guest's, with the disk's if it has several. Throws UserError for
 * what is no raw disk.
 */
export function tapDisks(guests: readonly GuestSpec[]): PassedDisk[] {
  return guests.flatMap(({ name: guest, images }) =>
    images.map((image, disk) => ({
      name: images.length === 1 ? guest : `${guest}/${diskName(disk)}`,
      guest,
      disk,
      path: rawPath(image),
    })),
  );
}

/** Throws UserError for what is no raw disk. */
function rawPath(image: string): string {
  const { format = "raw", path } = parseImage(image);
  if (format !== "raw" || isNamedElsewhere(path))
    throw new UserError(`${image}: the tap serves raw disks in files and block devices alone`);
  return path;
}

/** Why a disk is not offered, in one line. */
export function refused(error: NodeJS.ErrnoException, path: string): Error {
  return error.code
    ? new UserError(
        `${path}: cannot be opened for writing (${error.code}); --read-only offers it for reading`,
      )
    : error;
}

/** The file that a disk's writes go to. The guest goes on whatever becomes of it. */
class Recorder {
  readonly #path: string;
  readonly #writer: RecordingWriter;
  readonly #log: Log;
  #failure: Error | undefined;

  private constructor(path: string, writer: RecordingWriter, log: Log) {
    this.#path = path;
    this.#writer = writer;
    this.#log = log;
  }

  /** Throws UserError. */
  static async begin(path: string, diskSize: number, log: Log): Promise<Recorder> {
    try {
      return new Recorder(path, await RecordingWriter.create(path, diskSize), log);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new UserError(
        code === "EEXIST"
          ? `${path}: there is a file already; name another, or move it away`
          : `${path}: no recording can be written there (${code})`,
      );
    }
  }

  async write(batch: readonly WriteRecord[]): Promise<void> {
    if (this.#failure !== undefined) return;
    try {
      await this.#writer.write(batch);
    } catch (error) {
      this.#failure = error as Error;
      this.#log(`${this.#path}: the recording ends here (${this.#failure.message}); the disk is served on`);
    }
  }

  /** Returns a line that tells what was recorded. */
  async end({ writes, droppedWrites, droppedBytes }: QueueCounters): Promise<string> {
    try {
      await this.#writer.close();
    } catch (error) {
      this.#failure ??= error as Error;
    }
    if (this.#failure !== undefined) return `${this.#path}: not all is recorded (${this.#failure.message})`;
    const lost = droppedWrites === 0 ? "" : `; ${droppedWrites} lost under pressure (${droppedBytes} bytes)`;
    return `${this.#path}: ${writes} requests recorded${lost}`;
  }

  /** Takes the file away again: nothing was served. */
  async discard(): Promise<void> {
    await this.#writer.close().catch(() => {});
    rmSync(this.#path, { force: true });
  }
}
