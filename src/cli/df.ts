/** `slashcloud df`: how full guests' volumes are. */
import { subjectsOf } from "../daemon/inspecting/guest-subject.js";
import { usageOfImages, usageOfServed, type VolumeUsage } from "../daemon/inspecting/volume-usage.js";
import { visible } from "./event-text.js";
import { jsonText } from "./json-text.js";
import { complain, write } from "./output.js";
import { type Column, tableText } from "./table.js";

export interface DfOptions {
  readonly mount: string;
  readonly state?: string;
  readonly humanReadable?: boolean;
  readonly inodes?: boolean;
  readonly json?: boolean;
}

/** Prints a line for each volume. Returns the exit code: 1 if a guest could not be read. Throws UserError, ImageError. */
export async function df(given: readonly string[], options: DfOptions): Promise<number> {
  const { images, served } = await subjectsOf(given, options);
  const rows: VolumeUsage[] = [];
  let failed = false;
  const take = (look: () => VolumeUsage[]): void => {
    try {
      rows.push(...look());
    } catch (error) {
      failed = true;
      complain((error as Error).message);
    }
  };
  for (const spec of images) take(() => usageOfImages(spec, complain));
  for (const guest of served?.guests ?? [])
    if (served !== undefined) take(() => usageOfServed(served, guest));
  if (options.json) write(jsonText(rows));
  else write(tableText(options.inodes ? INODE_COLUMNS : columns(options.humanReadable ?? false), rows));
  return failed ? 1 : 0;
}

const VOLUME: Column<VolumeUsage> = ["VOLUME", ({ guest, volume }) => `${visible(guest)}:${visible(volume)}`];
const MOUNTED: Column<VolumeUsage> = [
  "MOUNTED ON",
  ({ mountPoints }) => mountPoints.map(visible).join(",") || "-",
];

function columns(isForPeople: boolean): Column<VolumeUsage>[] {
  const text = isForPeople ? humanText : (bytes: number): string => String(Math.ceil(bytes / 1024));
  return [
    VOLUME,
    [isForPeople ? "SIZE" : "1K-BLOCKS", ({ size }) => text(size), "right"],
    ["USED", ({ used }) => text(used), "right"],
    ["AVAILABLE", ({ available }) => text(available), "right"],
    ["USE%", ({ used, available }) => percent(used, used + available), "right"],
    MOUNTED,
  ];
}

const INODE_COLUMNS: readonly Column<VolumeUsage>[] = [
  VOLUME,
  ["INODES", ({ inodes }) => String(inodes), "right"],
  ["USED", ({ inodesUsed }) => String(inodesUsed), "right"],
  ["FREE", ({ inodesFree }) => String(inodesFree), "right"],
  ["USE%", ({ inodesUsed, inodes }) => percent(inodesUsed, inodes), "right"],
  MOUNTED,
];

/** As df(1): rounded up. */
function percent(part: number, all: number): string {
  return all <= 0 ? "-" : `${Math.ceil((part * 100) / all)}%`;
}

const UNITS = ["", "K", "M", "G", "T", "P"];

/** As df(1): 1.5G, 20M; rounded up. */
function humanText(bytes: number): string {
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  if (unit === 0) return String(bytes);
  const tenths = Math.ceil(value * 10);
  if (tenths < 100) return `${(tenths / 10).toFixed(1)}${UNITS[unit]}`;
  const whole = Math.ceil(value);
  return whole === 1024 && unit < UNITS.length - 1 ? `1.0${UNITS[unit + 1]}` : `${whole}${UNITS[unit]}`;
}
