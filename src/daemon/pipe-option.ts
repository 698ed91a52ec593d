/** What a user writes to say where a guest's QEMU tells its writes: `NAME=PATH`, `NAME/DISK=unix:PATH`. */
import { resolve } from "node:path";
import type { PipeForm, PipePlace } from "../capture/pipe/pipe-capture.js";
import { diskName } from "../cloud/mount-table.js";
import type { GuestSpec } from "./guest-name.js";
import type { PipedDisk } from "./tap-process-messages.js";
import { UserError } from "./user-error.js";

export type { PipeForm } from "../capture/pipe/pipe-capture.js";

const SOCKET = "unix:";

/** The disks that `texts` name among those of the guests. Throws UserError. */
export function parsePipes(
  texts: readonly string[],
  form: PipeForm,
  guests: readonly GuestSpec[],
): PipedDisk[] {
  const disks = guests.flatMap(({ name: guest, images }) =>
    images.map((path, disk) => ({ name: `${guest}/${diskName(disk)}`, guest, disk, path, form })),
  );
  const places = new Map<string, string>();
  const pipes = texts.map((text): PipedDisk => {
    // A name may have "=" in it, as a path may: it is a name if it is one of these.
    const found = disks.filter(
      ({ name, guest }) => text.startsWith(`${name}=`) || text.startsWith(`${guest}=`),
    );
    const [disk] = found;
    if (disk === undefined || found.length > 1)
      throw new UserError(`${text}: ${disk === undefined ? missing(disks) : ambiguous(found)}`, 2);
    const where = text.slice((text.startsWith(`${disk.name}=`) ? disk.name : disk.guest).length + 1);
    const place = parsePlace(where);
    if (place === undefined)
      throw new UserError(`${text}: write the path of a named pipe, or unix:PATH for a socket`, 2);
    const path = "fifo" in place ? place.fifo : place.socket;
    const other = places.get(path);
    if (other !== undefined)
      throw new UserError(`${path}: is named for ${other} and for ${disk.name}; each disk needs its own`, 2);
    places.set(path, disk.name);
    return { ...disk, place };
  });
  return pipes;
}

function parsePlace(where: string): PipePlace | undefined {
  const isSocket = where.startsWith(SOCKET);
  const path = isSocket ? where.slice(SOCKET.length) : where;
  if (path === "") return undefined;
  return isSocket ? { socket: resolve(path) } : { fifo: resolve(path) };
}

const missing = (disks: ReadonlyArray<{ name: string }>) =>
  `no guest has that disk; write NAME=PATH or ${disks[0]?.name ?? "NAME/sda"}=PATH`;

const ambiguous = (found: ReadonlyArray<{ name: string }>) =>
  `which disk is meant? Write ${found.map(({ name }) => `${name}=PATH`).join(" or ")}`;
