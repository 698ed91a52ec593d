/**
 * What it is to be attached to a running QEMU: its disks can be read, and what they are written goes to a tap, or is found
 * by looking at them.
 */
import type { Log } from "../../images/image.js";

/** A disk of a running guest, as QEMU tells of it, which is trusted no more than its guest. */
export interface GuestDisk {
  /** Which of the guest's disks it is, from 0 on: sda, sdb, ... */
  readonly index: number;
  /** The top node of its block graph, filters included; `#block123` where nobody has given it a name. */
  readonly node: string;
  /** What people know it by: -drive's or -device's id; the node where it has neither. */
  readonly name: string;
  /** The guest's device: its id, or its path in QEMU's tree of objects. */
  readonly device: string;
  /** Bytes. */
  readonly size: number;
  /** Of the top node: raw, qcow2, throttle, ... */
  readonly format: string;
  /** A path, or a description that begins with "json:". Not to be opened unless `isRaw`. */
  readonly filename: string;
  /** The file `filename`, if this process finds it there, too, and QEMU has it open. */
  readonly file: string | undefined;
  /** The disk's bytes are those of that file. */
  readonly isRaw: boolean;
  /** The guest cannot write to it, so it has no tap. */
  readonly isReadOnly: boolean;
}

export interface AttachedDisk extends GuestDisk {
  /** Where its bytes can be read as the guest sees them, for as long as the attachment lasts: an NBD URL. */
  readonly exportUrl: string;
}

/** Where a disk's writes are to go: an NBD export of the disk's size that stores nothing. */
export interface TapTarget {
  /** Path of a unix socket that QEMU can connect to (see giveToQemu). */
  readonly socket: string;
  readonly exportName: string;
}

/** A guest that is attached to, or that is about to be. */
export interface GuardedGuest {
  /** Path of its monitor's socket. */
  readonly socket: string;
  /** Path of the unix socket that QEMU is to serve its disks at; QEMU must be allowed to make it. */
  readonly exportSocket: string;
}

/** Who takes away what is made in a guest's QEMU if this process hangs or dies (WatchdogKeeper). */
export interface Guard {
  /** Done when it is guarded. */
  guard(guest: GuardedGuest): Promise<void>;
  /** Nothing is left in the guest. */
  release(socket: string): void;
}

export interface EnterOptions extends GuardedGuest {
  /** Nodes, or ids of drives or devices; by default all disks that have a medium, CD-ROMs and floppies excepted. */
  readonly disks?: readonly string[];
  readonly guard: Guard;
  readonly log: Log;
}

export interface AttachOptions extends EnterOptions {
  /** Called for each disk that can be written, before anything is changed in QEMU. */
  readonly tapFor: (disk: GuestDisk) => Promise<TapTarget> | TapTarget;
}

/** Something that came to an end by itself. */
export interface Loss {
  /** Undefined: the whole guest; nothing is left of the attachment then, and it need not be detached. */
  readonly disk: AttachedDisk | undefined;
  /** One line. */
  readonly reason: string;
  /** `reattach` can be tried; what was written since is lost: the disk itself must tell. */
  readonly canReattach: boolean;
}

export interface Attachment {
  readonly disks: readonly AttachedDisk[];
  /** Tells each loss once, also those that came before it was called. */
  onLost(listener: (loss: Loss) => void): void;
  /** Mirrors a disk once more whose mirror ended. Throws QmpError. */
  reattach(disk: AttachedDisk): Promise<void>;
  /** Takes back all that was changed in QEMU. Throws QmpError if QEMU does not do it. */
  detach(): Promise<void>;
}

/** A guest whose disks are looked at: nothing is made in its QEMU but what reading them takes. */
export interface WatchedGuest {
  /** Where its disks can be read, in their order: files of this host's, and NBD URLs. */
  readonly images: readonly string[];
  /** Called when these are others: after a snapshot, a block job, or when disks were plugged in or out. */
  onMoved(listener: (images: readonly string[]) => void): void;
  /** Called once, also if that was before: the guest has gone, and need not be let go of. */
  onLost(listener: (reason: string) => void): void;
  /** Takes back all that was changed in QEMU. Throws QmpError if QEMU does not do it. */
  detach(): Promise<void>;
}
