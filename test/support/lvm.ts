/**
 * Guests' disks with LVM on them, made by LVM's own tools. They need no device mapper as long as nothing is activated:
 * what lies in a volume is put by the extents that the tools report.
 */
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { loopDevice, run } from "./images-mount.js";

/** A stripe, or all of a segment, as `lvs` tells it. */
interface Extents {
  readonly device: string;
  readonly first: number;
}

/** A segment as `lvs` tells it; bytes. */
interface ReportedSegment {
  readonly start: number;
  readonly size: number;
  readonly stripeSize: number;
  readonly areas: readonly Extents[];
}

/** One guest's disks. */
export class LvmDisks {
  readonly folder: string;
  readonly images: readonly string[];
  /** Of what LVM is to use: the disks, or partitions of theirs. */
  readonly devices: readonly string[];
  readonly #free: readonly (() => void)[];

  private constructor(
    folder: string,
    images: readonly string[],
    loops: readonly { device: string; free: () => void }[],
  ) {
    this.folder = folder;
    this.images = images;
    this.devices = loops.map(({ device }) => device);
    this.#free = loops.map(({ free }) => free);
  }

  /** Over images that are there; `offsets`: bytes of each that are in front of the part that LVM is to use. */
  static async open(
    folder: string,
    images: readonly string[],
    offsets: readonly number[] = [],
  ): Promise<LvmDisks> {
    const loops = [];
    for (const [index, image] of images.entries())
      loops.push(await loopDevice(image, ["--offset", `${offsets[index] ?? 0}`]));
    return new LvmDisks(folder, images, loops);
  }

  /** Frees the devices: the images stay. */
  close(): void {
    for (const free of this.#free) free();
  }

  /** Runs a command of lvm(8) on these disks and no others. */
  lvm(command: string, ...args: string[]): Promise<string> {
    const accepted = this.devices.map((device) => `"a|^${device}$|"`).join(",");
    const config = [
      `devices{scan="/dev" filter=[${accepted},"r|.*|"] use_devicesfile=0}`,
      "global{use_lvmpolld=0} backup{backup=0 archive=0}",
      "activation{udev_sync=0 udev_rules=0 monitoring=0}",
    ].join(" ");
    return run("env", [
      "LVM_SUPPRESS_FD_WARNINGS=1",
      "DM_DISABLE_UDEV=1",
      "LC_ALL=C",
      command,
      "--yes",
      "--driverloaded",
      "n",
      "--config",
      config,
      ...args,
    ]);
  }

  /** Makes a volume that is not activated. */
  create(group: string, name: string, size: string, ...args: string[]): Promise<string> {
    return this.lvm("lvcreate", "-an", "-Zn", "-Wn", "-n", name, "-L", size, group, ...args);
  }

  /** Has LVM write down what `edit` makes of its text: for what it makes only with the device mapper. */
  async edit(group: string, edit: (text: string) => string): Promise<void> {
    const file = join(this.folder, "group.text");
    await this.lvm("vgcfgbackup", "-f", file, group);
    writeFileSync(file, edit(readFileSync(file, "utf8")));
    await this.lvm("vgcfgrestore", "--force", "-f", file, group);
  }

  /** Where a volume lies, by LVM's own report. */
  async segments(group: string, name: string): Promise<ReportedSegment[]> {
    const report = await this.lvm(
      "lvs",
      ...["--all", "--reportformat", "json", "--units", "b", "--nosuffix", "--segments"],
      ...["-o", "lv_name,seg_start,seg_size,stripe_size,seg_pe_ranges"],
      group,
    );
    const rows = JSON.parse(report.slice(report.indexOf("{"))).report[0].seg as Record<string, string>[];
    return rows
      .filter((row) => row.lv_name?.replace(/^\[|\]$/g, "") === name)
      .map((row) => ({
        start: Number(row.seg_start),
        size: Number(row.seg_size),
        stripeSize: Number(row.stripe_size),
        areas: (row.seg_pe_ranges as string).split(" ").map((range) => {
          const [, device = "", first] = /^(.*):(\d+)-\d+$/.exec(range) ?? [];
          return { device, first: Number(first) };
        }),
      }))
      .sort((a, b) => a.start - b.start);
  }

  /** The first byte, on LVM's device, of an extent. */
  async extentStart(device: string, extent: number): Promise<number> {
    const fields = await this.lvm(
      ...(["pvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "pe_start,vg_extent_size"] as const),
      device,
    );
    const [start, size] = fields.trim().split("\n").at(-1)!.trim().split(/\s+/).map(Number);
    return start! + extent * size!;
  }

  /** Writes the file's bytes to where a volume has them. */
  async fill(group: string, name: string, file: string): Promise<void> {
    const input = openSync(file, "r");
    const outputs = new Map(this.devices.map((device) => [device, openSync(device, "r+")]));
    const pieces: { from: number; length: number; device: string; position: number }[] = [];
    for (const { start, size, stripeSize, areas } of await this.segments(group, name)) {
      const chunk = areas.length > 1 ? stripeSize : size;
      const starts = await Promise.all(areas.map(({ device, first }) => this.extentStart(device, first)));
      const length = Math.min(chunk, 1 << 20);
      for (let at = 0; at < size; at += length) {
        const number = Math.floor(at / chunk);
        const area = number % areas.length;
        const position = starts[area]! + Math.floor(number / areas.length) * chunk + (at % chunk);
        pieces.push({ from: start + at, length, device: areas[area]!.device, position });
      }
    }
    // The first bytes last: what reads the volume meanwhile looks there for whether it has changed.
    for (const { from, length, device, position } of pieces.reverse()) {
      const bytes = Buffer.alloc(length);
      const count = readSync(input, bytes, 0, length, from);
      writeSync(outputs.get(device)!, bytes, 0, count, position);
    }
    closeSync(input);
    for (const output of outputs.values()) closeSync(output);
    await run("sync", [...this.devices]);
  }
}

/** LVM's text with a volume turned into a hidden part of another, under another name. */
export function asPart(text: string, name: string, part: string): string {
  const start = text.indexOf(`\t\t${name} {`);
  const end = text.indexOf("segment_count", start);
  if (start < 0 || end < 0) throw new Error(`there is no ${name} in the text`);
  const head = text.slice(start, end).replace(`${name} {`, `${part} {`).replace(', "VISIBLE"', "");
  return text.slice(0, start) + head + text.slice(end);
}

/** LVM's text with one more volume, of one segment of some extents. */
export function withVolume(
  text: string,
  name: string,
  status: string,
  extents: number,
  segment: string,
): string {
  const end = text.lastIndexOf("\n\t}\n");
  const uuid = Buffer.from(name.padEnd(16, "\0")).toString("hex");
  const id = uuid.replace(/^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-$5-$6-");
  const added = `
    ${name} {
      id = "${id}"
      status = ["READ", "WRITE"${status}]
      flags = []
      creation_time = 1
      creation_host = "guest"
      segment_count = 1
      segment1 {
        start_extent = 0
        extent_count = ${extents}
        ${segment}
      }
    }`;
  return text.slice(0, end) + added + text.slice(end);
}
