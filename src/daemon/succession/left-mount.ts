/**
 * The mount that the daemon before this one has left in the service manager's store of descriptors: of /dev/fuse, so that
 * who reads waits, and of the ledger. Their names say which mount it is.
 */
import { closeSync } from "node:fs";
import { unmount } from "../../fuse/kernel/mount.js";
import { leadsToOneOf, mountAt, mountsOf } from "../../fuse/mountpoint.js";
import type { Log } from "../../images/image.js";
import type { MountedAt } from "../server-messages.js";
import type { NamedDescriptor } from "../service/service-manager.js";
import { FORM } from "./handed-over.js";

const PREFIX = "slashcloud-";
const KINDS = ["device", "ledger"] as const;
type Kind = (typeof KINDS)[number];

/** The name of a mount's descriptor there (sd_pid_notify_with_fds(3), FDNAME: no colons). */
export function storedName(kind: Kind, { device }: MountedAt): string {
  return `${PREFIX}${FORM}-${kind}-${device.replace(":", "-")}`;
}

/** Something mounted that perhaps nobody serves. */
export class LeftMount {
  /** Of /dev/fuse, and of the ledger. */
  readonly device: number;
  readonly ledger: number;
  /** `major:minor` of the file system. */
  readonly #number: string;
  readonly #points: readonly string[];

  constructor(device: number, ledger: number, number: string) {
    this.device = device;
    this.ledger = ledger;
    this.#number = number;
    this.#points = mountsOf(number);
  }

  /** Where it is mounted, for people. */
  get path(): string {
    return this.#points[0] ?? "";
  }

  /** The mount, if it is what is seen at a directory; undefined: it is elsewhere. */
  at(directory: string): MountedAt | undefined {
    const path = leadsToOneOf(directory, this.#points);
    if (path === undefined || mountAt(path)?.device !== this.#number) return undefined;
    return { path, device: this.#number };
  }

  /** Takes it away, and whoever waits for an answer gets an error. What somebody else has taken away is no error. */
  unmount(log: Log): void {
    for (const point of this.#points) {
      try {
        unmount(point, this.#number, "abort");
      } catch (error) {
        log((error as Error).message);
      }
    }
  }

  /** Closes its descriptors. */
  close(): void {
    closeSync(this.device);
    closeSync(this.ledger);
  }
}

/** What is found among the descriptors that the service manager has passed. */
export interface Left {
  readonly mount: LeftMount | undefined;
  /** Names of all that is in its store of ours. */
  readonly stored: readonly string[];
}

/** Looks for a mount that can be gone on with; closes what other versions, or mounts that are no more, have left. */
export function findLeft(passed: readonly NamedDescriptor[]): Left {
  const own = passed.filter(({ name }) => name.startsWith(PREFIX));
  const used = new Set<NamedDescriptor>();
  let mount: LeftMount | undefined;
  for (const device of own) {
    const number = /-device-(\d+)-(\d+)$/.exec(device.name)?.slice(1).join(":");
    if (number === undefined || mount !== undefined) continue;
    const mounted = { path: "", device: number };
    const ledger = own.find(({ name }) => name === storedName("ledger", mounted));
    if (ledger === undefined || device.name !== storedName("device", mounted)) continue;
    if (mountsOf(number).length === 0) continue;
    mount = new LeftMount(device.descriptor, ledger.descriptor, number);
    used.add(device).add(ledger);
  }
  for (const descriptor of own) if (!used.has(descriptor)) closeSync(descriptor.descriptor);
  return { mount, stored: own.map(({ name }) => name) };
}
