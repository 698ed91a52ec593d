/** Serving a guest's disks by NBD, and telling which files it reads and writes. */
import { diskName } from "../cloud/mount-table.js";
import type { Log } from "../images/image.js";
import type { PlaceAccess } from "./accesses.js";
import type { GuestSpec } from "./guest-name.js";
import { isLocal, nbdUrl, parseListenAddress } from "./listen-address.js";
import { refused, tapDisks } from "./tap.js";
import { Tapping } from "./tapping.js";
import { TracedDisk } from "./traced-disk.js";

/** ms between looks at what the guest has committed, and at what goes on no more. */
const LOOK_EVERY = 50;

export interface TraceOptions {
  readonly guest: GuestSpec;
  /** `unix:PATH` or `HOST:PORT`, each. */
  readonly listen: readonly string[];
  readonly isReadOnly: boolean;
  readonly tell: (access: PlaceAccess) => void;
  readonly log: Log;
}

export interface Trace {
  /** Where each disk is, as an NBD URL. */
  readonly urls: readonly string[];
  /** Settles if it ends by itself, with the reason. */
  readonly died: Promise<Error>;
  /** Ends connections, and tells what is left. Returns how many accesses nobody was told of. */
  stop(): Promise<number>;
}

/** The disks are crawled before they are served. Throws UserError, ImageError, and other errors of one line. */
export async function trace({ guest, listen, isReadOnly, tell, log }: TraceOptions): Promise<Trace> {
  const addresses = listen.map(parseListenAddress);
  const traced = new Map<string, TracedDisk>();
  const disks = tapDisks([guest]);
  for (const { name, path, disk } of disks) traced.set(name, new TracedDisk(path, diskName(disk), tell, log));
  let die: (why: Error) => void = () => {};
  const died = new Promise<Error>((resolve) => {
    die = resolve;
  });
  const tapping = new Tapping({
    log,
    consume: () => {},
    onAccesses: (disk, accesses) => traced.get(disk)?.take(accesses),
    onDeath: die,
  });
  const urls: string[] = [];
  try {
    for (const { name, path } of disks) {
      const disk = { name, path, kind: "image", isReadOnly, isCaptured: false, isTraced: true } as const;
      await tapping.add(disk).catch((error) => {
        throw refused(error, path);
      });
    }
    for (const address of addresses) {
      const bound = await tapping.listen(address);
      if (!isLocal(bound))
        log(`${nbdUrl(bound, "")}: whoever reaches this address can read and write the disks`);
      urls.push(...disks.map(({ name }) => nbdUrl(bound, name)));
    }
  } catch (error) {
    await tapping.stop();
    throw error;
  }
  const looking = setInterval(() => {
    for (const disk of traced.values()) disk.settle(Date.now());
  }, LOOK_EVERY);
  const stop = async (): Promise<number> => {
    clearInterval(looking);
    await tapping.stop();
    let lost = 0;
    for (const disk of traced.values()) {
      disk.close();
      lost += disk.lost;
    }
    return lost;
  };
  return { urls, died, stop };
}
