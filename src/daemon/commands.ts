/** What a running daemon can be told to do. It passes from the control socket to the server, and on to the supervisor. */

/** `attach`: shows the disks of a running QEMU's guest, and follows all that it writes. `detach`: takes that back. */
export type Command =
  | {
      readonly kind: "attach";
      /** The guest's, in the tree. */
      readonly guest: string;
      /** Path of QEMU's monitor (QMP). */
      readonly socket: string;
      /** Nodes, or ids of drives or devices; undefined: all disks. */
      readonly disks?: readonly string[] | undefined;
    }
  | { readonly kind: "detach"; readonly guest: string };

/** What came of it: lines for people. */
export type CommandDone = readonly string[];

/** Does it. Rejects with an error of one line. */
export type RunCommand = (command: Command) => Promise<CommandDone>;

/** Reads what came as JSON. Throws RangeError with one line that tells what is wrong. */
export function parseCommand(kind: string, text: string): Command {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new RangeError("the request is not JSON");
  }
  const { guest, socket, disks } = (typeof body === "object" && body !== null ? body : {}) as Record<
    string,
    unknown
  >;
  if (typeof guest !== "string" || guest === "") throw new RangeError('"guest" is to be a name');
  if (kind === "detach") return { kind, guest };
  if (typeof socket !== "string" || !socket.startsWith("/"))
    throw new RangeError('"socket" is to be the path of QEMU\'s monitor');
  if (disks !== undefined && !(Array.isArray(disks) && disks.every((disk) => typeof disk === "string")))
    throw new RangeError('"disks" is to be a list of names');
  return { kind: "attach", guest, socket, disks };
}
