/** `slashcloud attach` and `detach`: a running QEMU's guest in the tree, and out of it. */
import { basename, resolve } from "node:path";
import type { Command } from "../daemon/commands.js";
import type { GuestCapture } from "../daemon/guest-capture.js";
import { sendCommand } from "../daemon/send-command.js";
import { stateDirectoryFor } from "../daemon/state-directory.js";
import { write } from "./output.js";

export interface AttachOptions {
  /** Path of QEMU's monitor. */
  readonly qmp: string;
  /** Nodes, or ids of drives or devices. */
  readonly disk?: string[];
  readonly capture: GuestCapture;
  readonly mount: string;
  readonly state?: string;
}

/** Returns the exit code. Throws UserError. */
export async function attach(name: string | undefined, options: AttachOptions): Promise<number> {
  const { qmp, disk: disks, capture, mount, state } = options;
  const socket = resolve(qmp);
  const guest = name ?? basename(socket).replace(/\.[^.]*$/, "");
  const command: Command = { kind: "attach", guest, socket, disks, capture };
  const images = await sendCommand(stateDirectoryFor(mount, state), command);
  for (const image of images) write(`slashcloud: ${guest}: ${image}\n`);
  return 0;
}

/** Returns the exit code. Throws UserError. */
export async function detach(
  guest: string,
  { mount, state }: { readonly mount: string; readonly state?: string },
): Promise<number> {
  await sendCommand(stateDirectoryFor(mount, state), { kind: "detach", guest });
  return 0;
}
