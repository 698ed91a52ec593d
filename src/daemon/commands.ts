/** What a running daemon can be told to do. It passes from the control socket to the server, and on to the supervisor. */
import { GUEST_CAPTURES, type GuestCapture } from "./guest-capture.js";

export type Command =
  /** Shows the disks of a running QEMU's guest, and follows all that it writes. */
  | {
      readonly kind: "attach";
      /** The guest's, in the tree. */
      readonly guest: string;
      /** Path of QEMU's monitor (QMP). */
      readonly socket: string;
      /** Nodes, or ids of drives or devices; undefined: all disks. */
      readonly disks?: readonly string[] | undefined;
      /** How its writes are known; undefined: `mirror`. */
      readonly capture?: GuestCapture | undefined;
    }
  /** Takes that back. */
  | { readonly kind: "detach"; readonly guest: string }
  /** Shows a guest until it is removed; its images as GuestSpec has them. */
  | { readonly kind: "add"; readonly guest: string; readonly images: readonly string[] }
  | { readonly kind: "remove"; readonly guest: string }
  /** Reads the configuration again. */
  | { readonly kind: "reload" }
  /** Has another daemon, by the program as it is on disk now, take this one's place. */
  | { readonly kind: "renew" };

/** What came of it. */
export interface CommandDone {
  /** For people. */
  readonly lines: readonly string[];
  /** The guests that are shown in a moment. */
  readonly guests: readonly string[];
}

/** Does it. Rejects with an error of one line, or of several in which a configuration is wrong. */
export type RunCommand = (command: Command) => Promise<CommandDone>;

/** The names of all commands. */
export const COMMANDS: readonly Command["kind"][] = ["attach", "detach", "add", "remove", "reload", "renew"];

/** Reads what came as JSON. Throws RangeError with one line that tells what is wrong. */
export function parseCommand(kind: Command["kind"], text: string): Command {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new RangeError("the request is not JSON");
  }
  if (kind === "reload" || kind === "renew") return { kind };
  const { guest, socket, disks, capture, images } = (
    typeof body === "object" && body !== null ? body : {}
  ) as Record<string, unknown>;
  if (typeof guest !== "string" || guest === "") throw new RangeError('"guest" is to be a name');
  switch (kind) {
    case "detach":
    case "remove":
      return { kind, guest };
    case "add":
      if (!isTexts(images) || images.length === 0) throw new RangeError('"images" is to be a list of images');
      return { kind, guest, images };
    case "attach":
      if (typeof socket !== "string" || !socket.startsWith("/"))
        throw new RangeError('"socket" is to be the path of QEMU\'s monitor');
      if (disks !== undefined && !isTexts(disks)) throw new RangeError('"disks" is to be a list of names');
      if (capture !== undefined && !isCapture(capture))
        throw new RangeError(`"capture" is to be ${GUEST_CAPTURES.join(" or ")}`);
      return { kind, guest, socket, disks, capture };
  }
}

function isCapture(value: unknown): value is GuestCapture {
  return (GUEST_CAPTURES as readonly unknown[]).includes(value);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
