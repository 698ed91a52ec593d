import type { GuestCapture } from "../guest-capture.js";

/** A guest that a source found: what `slashcloud up` would be given for it by hand. */
export interface FoundGuest {
  /** Name of the guest in the tree. */
  name: string;
  /** Images as `up` takes them: a path, `qcow2:PATH`, an NBD URL. May be empty, see `reason`. */
  images: readonly string[];
  /** QMP socket of the running QEMU, to attach to. */
  qmp?: string;
  /** With `qmp`: names of the block nodes or devices to show; all when left out. */
  disks?: readonly string[];
  /** With `qmp`: how its writes are known; `mirror` when left out. */
  capture?: GuestCapture;
  /** Why the guest has no images now, for `status`. */
  reason?: string;
}

/**
 * Something that finds guests by itself and says so whenever they change.
 * `found` is given the whole list each time, never a difference; a source
 * that cannot ask for the moment says nothing rather than an empty list.
 */
export interface GuestSource {
  /** Short name for the log and `status`, such as "libvirt". */
  readonly name: string;
  /** Begins to look. Must return at once; errors go to `log`, never to the caller. */
  start(found: (guests: readonly FoundGuest[]) => void, log: (line: string) => void): void;
  /** Ends all looking; resolves once nothing of the source is under way. */
  stop(): Promise<void>;
}
