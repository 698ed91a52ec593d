/** The disks of a running guest. */
import { accessSync, constants } from "node:fs";
import type { GuestDisk } from "./attachment.js";
import { field, list, text } from "./json.js";
import { isOpenBehind } from "./open-files.js";
import { type QmpClient, QmpError, told } from "./qmp-client.js";

/** Devices that are no disks, by their type in QEMU: what can be put in and taken out, and firmware. */
const NO_DISK = /^(ide-cd|scsi-cd|floppy|cfi\.pflash.*)$/;

/** All disks of a guest that have a medium, in QEMU's order. Throws QmpError. */
export async function guestDisks(client: QmpClient): Promise<GuestDisk[]> {
  const disks: GuestDisk[] = [];
  for (const entry of list(await client.execute("query-block"))) {
    const device = text(entry, "qdev");
    const inserted = field(entry, "inserted");
    if (device === undefined || inserted === undefined) continue;
    // Where QEMU does not tell the type, what can be taken out is taken for a CD-ROM.
    const type = await client.execute("qom-get", { path: device, property: "type" }).catch(() => undefined);
    if (typeof type === "string" ? NO_DISK.test(type) : field(entry, "removable") === true) continue;
    const disk = parseDisk(disks.length, device, text(entry, "device") ?? "", inserted);
    if (disk === undefined)
      throw new QmpError(client.path, `QEMU does not tell what disk ${told(device)} is`);
    const { filename, format } = disk;
    const isFile = filename.startsWith("/") && (await isOpenBehind(client.path, filename));
    const file = isFile ? filename : undefined;
    disks.push({ ...disk, file, isRaw: isFile && format === "raw" });
  }
  return disks;
}

/**
 * Which disks a guest has, in short: another text if one is another, has other nodes, or another size. Throws QmpError.
 */
export async function disksInShort(client: QmpClient): Promise<string> {
  const entries = list(await client.execute("query-block")).map((entry) => {
    const inserted = field(entry, "inserted");
    const image = field(inserted, "image");
    const { filename, "virtual-size": size } = (image ?? {}) as Record<string, unknown>;
    return [field(entry, "qdev"), field(inserted, "node-name"), field(inserted, "drv"), filename, size];
  });
  return JSON.stringify(entries);
}

/** The file of a disk whose bytes are that file's, if this process may read it. */
export function readableFile({ isRaw, filename }: GuestDisk): string | undefined {
  if (!isRaw) return undefined;
  try {
    accessSync(filename, constants.R_OK);
    return filename;
  } catch {
    return undefined;
  }
}

/** Those of `disks` that are named, in their own order. Throws QmpError for one that is not there. */
export function chosenDisks(
  socket: string,
  disks: readonly GuestDisk[],
  names: readonly string[] | undefined,
): readonly GuestDisk[] {
  if (disks.length === 0) throw new QmpError(socket, "the guest has no disk that slashcloud could show");
  const missing = names?.find((name) => !disks.some((disk) => isNamed(disk, name)));
  if (missing !== undefined) {
    const there = disks.map(({ name }) => name).join(", ");
    throw new QmpError(socket, `the guest has no disk ${missing}; it has ${told(there)}`);
  }
  return disks.filter((disk) => isChosen(disk, names));
}

/** Whether a device's name in an event is that of the disk's device, or of what the disk's device is part of. */
export function isDevice(disk: GuestDisk, name: string): boolean {
  return disk.device === name || disk.device.startsWith(`${name}/`) || idOf(disk.device) === name;
}

/** Whether a disk is meant by one of the names; without names, all are. */
export function isChosen(disk: GuestDisk, names: readonly string[] | undefined): boolean {
  return names === undefined || names.some((name) => isNamed(disk, name));
}

function isNamed(disk: GuestDisk, name: string): boolean {
  return disk.node === name || disk.name === name || disk.device === name || idOf(disk.device) === name;
}

/** The id of a device whose path is known, if the user has given it one. */
function idOf(device: string): string | undefined {
  return /^\/machine\/peripheral\/([^/]+)/.exec(device)?.[1];
}

/** `drive`: a drive's id, or "". */
function parseDisk(
  index: number,
  device: string,
  drive: string,
  inserted: unknown,
): Omit<GuestDisk, "file" | "isRaw"> | undefined {
  const image = field(inserted, "image");
  const node = text(inserted, "node-name");
  const format = text(inserted, "drv");
  const filename = text(image, "filename");
  const size = field(image, "virtual-size");
  if (node === undefined || format === undefined || filename === undefined) return undefined;
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return undefined;
  return {
    index,
    node,
    name: drive || idOf(device) || node,
    device,
    size,
    format,
    filename,
    isReadOnly: field(inserted, "ro") === true,
  };
}
