/** What passes between the supervisor and the process that hosts the tap, on the channel between a parent and its child. */
import type { PipeForm, PipePlace } from "../capture/pipe/pipe-capture.js";
import type { LogAbout } from "../images/image.js";
import type { QueueLimits } from "../queue/write-queue.js";
import type { GuestCapture } from "./guest-capture.js";
import type { TapFigures } from "./insight/supervisor-report.js";

/** A disk that its guest reaches by the tap, which passes requests on to the image. */
export interface PassedDisk {
  /** Of the export; its twin `<name>.log` takes what QEMU's blklogwrites logs of the disk. */
  readonly name: string;
  readonly guest: string;
  /** Its place among the guest's disks, from 0 on. */
  readonly disk: number;
  /** Of the image. */
  readonly path: string;
}

/** A disk whose guest's QEMU tells its writes through a pipe. */
export interface PipedDisk {
  /** Its own among them. */
  readonly name: string;
  readonly guest: string;
  /** Its place among the guest's disks, from 0 on. */
  readonly disk: number;
  /** Of the image. */
  readonly path: string;
  readonly place: PipePlace;
  readonly form: PipeForm;
}

/** A running guest that is to be attached to. */
export interface AttachRequest {
  readonly guest: string;
  /** Path of QEMU's monitor (QMP). */
  readonly socket: string;
  /** Nodes, or ids of drives or devices; undefined: all disks. */
  readonly disks: readonly string[] | undefined;
  /** Undefined: `mirror`. */
  readonly capture?: GuestCapture | undefined;
}

/** Whether two ask for the same guest in the same way, by whatever names. */
export function isSameRequest(
  one: Omit<AttachRequest, "guest">,
  other: Omit<AttachRequest, "guest">,
): boolean {
  const [{ capture = "mirror" }, { capture: otherCapture = "mirror" }] = [one, other];
  return one.socket === other.socket && `${one.disks}` === `${other.disks}` && capture === otherCapture;
}

export interface TapProcessOptions {
  /** Sockets are made there. */
  readonly directory: string;
  /** The socket that writes are told on. */
  readonly feed: string;
  /** `unix:PATH` or `HOST:PORT`, each. */
  readonly listen: readonly string[];
  readonly disks: readonly PassedDisk[];
  readonly pipes: readonly PipedDisk[];
  readonly limits: Partial<QueueLimits>;
  /** ms for which a write is kept that nothing explains yet. */
  readonly unknownLife: number;
}

export type ToTapProcess =
  | { readonly kind: "start"; readonly options: TapProcessOptions }
  | { readonly kind: "attach"; readonly id: number; readonly request: AttachRequest }
  | { readonly kind: "detach"; readonly id: number; readonly guest: string }
  | { readonly kind: "report"; readonly id: number }
  /** Another keeper is about to come to the socket of this path. */
  | { readonly kind: "share"; readonly id: number; readonly path: string }
  /** Detaches from all guests, ends all connections, and then itself. */
  | { readonly kind: "stop" };

export type FromTapProcess =
  /** Where each disk is, as NBD URLs. To one that comes later, too. */
  | { readonly kind: "ready"; readonly urls: readonly string[] }
  /** The user's to mend. */
  | { readonly kind: "refused"; readonly message: string }
  /** What came of a request: where the guest's disks can be read, paths or NBD URLs, in their order. */
  | { readonly kind: "done"; readonly id: number; readonly images: readonly string[] }
  | { readonly kind: "report"; readonly id: number; readonly figures: TapFigures }
  | { readonly kind: "failed"; readonly id: number; readonly message: string }
  /** The disks of a guest that is attached to can be read elsewhere now. */
  | { readonly kind: "moved"; readonly guest: string; readonly images: readonly string[] }
  /** A guest that was attached to has gone, and need not be detached. */
  | { readonly kind: "gone"; readonly guest: string; readonly reason: string }
  | { readonly kind: "log"; readonly line: string; readonly about: LogAbout | undefined };
