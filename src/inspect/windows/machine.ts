/** What SYSTEM tells of a Windows guest: its name, machine, time zone, and where its drive letters lead. */
import type { Architecture } from "../facts/architecture.js";
import type { Hive, Key } from "../registry/hive.js";
import { numberOf, textOf, type Value } from "../registry/value.js";

/** What Windows calls a machine, and `uname -m`. */
const MACHINES: Readonly<Record<string, readonly [name: string, bits: 32 | 64]>> = {
  AMD64: ["x86_64", 64],
  X86: ["i686", 32],
  ARM64: ["aarch64", 64],
  ARM: ["arm", 32],
  IA64: ["ia64", 64],
};
const LETTER = /^\\DosDevices\\([A-Z]:)$/i;
/** How the mount manager names a volume, with or without a letter. */
const VOLUME = /^\\\?\?\\(Volume\{[0-9a-f-]{36}\})$/i;
const GPT_PARTITION = "DMIO:ID:";
const MBR_BYTES = 12;
const GPT_BYTES = GPT_PARTITION.length + 16;
const MOST_DEVICE_BYTES = 1024;
/** Drive letters that are told, and names of volumes. */
const MOST_DRIVES = 26;
const MOST_NAMES = 1000;
const MOST_BYTES_OF_NAMES = 4 << 20;

/** Where a name of a volume leads: to a partition of an MBR or a GPT, or to some other device. */
export type Device =
  | { readonly diskSignature: string; readonly offset: number }
  | { readonly partition: string }
  | { readonly device: string };

/** Where a drive letter leads. */
export type Drive = Device & { readonly letter: string };

/** Where a volume's name leads: `D:`, or `VOLUME{...}`, in capital letters. */
export type MountedDevice = Device & { readonly name: string };

/** The key of the settings that the system last ran with; undefined if the hive has none. */
export function controlSet(hive: Hive): Key | undefined {
  const select = hive.key(["Select"]);
  const current = (select && numberOf(hive.value(select, "Current"))) ?? 1;
  return hive.key([`ControlSet${current.toString().padStart(3, "0")}`, "Control"]);
}

export function computerName(hive: Hive, control: Key): string | undefined {
  return text(hive, control, ["ComputerName", "ComputerName"], "ComputerName");
}

/** The zone by Windows' own name for it: `W. Europe Standard Time`. */
export function windowsTimeZone(hive: Hive, control: Key): string | undefined {
  const zone = ["TimeZoneInformation"];
  const named = text(hive, control, zone, "TimeZoneKeyName");
  if (named !== undefined) return named;
  const standard = text(hive, control, zone, "StandardName");
  // Newer ones have the place of a translated name there.
  return standard?.startsWith("@") ? undefined : standard;
}

/** `source` is the hive's path. */
export function windowsArchitecture(hive: Hive, control: Key, source: string): Architecture | undefined {
  const told = text(hive, control, ["Session Manager", "Environment"], "PROCESSOR_ARCHITECTURE");
  if (told === undefined) return undefined;
  const [name, bits] = MACHINES[told.toUpperCase()] ?? [told, undefined];
  return { name, bits, endian: bits && "little", source };
}

/** Drive letters in their order. */
export function drives(hive: Hive): Drive[] {
  const mounted = hive.key(["MountedDevices"]);
  if (mounted === undefined) return [];
  const found: Drive[] = [];
  for (const value of hive.values(mounted)) {
    const letter = LETTER.exec(value.name)?.[1]?.toUpperCase();
    if (letter !== undefined && found.length < MOST_DRIVES) found.push({ letter, ...deviceOf(value) });
  }
  return found.sort((a, b) => (a.letter < b.letter ? -1 : 1));
}

/** All names by which links can name volumes. Throws an Error with a line if there are more than can be. */
export function mountedDevices(hive: Hive): MountedDevice[] {
  const mounted = hive.key(["MountedDevices"]);
  if (mounted === undefined) return [];
  const found: MountedDevice[] = [];
  let bytes = 0;
  for (const value of hive.values(mounted)) {
    bytes += value.data.length;
    if (bytes > MOST_BYTES_OF_NAMES || found.length === MOST_NAMES)
      throw new Error("MountedDevices has more than Windows writes there");
    const name = (LETTER.exec(value.name) ?? VOLUME.exec(value.name))?.[1]?.toUpperCase();
    if (name !== undefined) found.push({ name, ...deviceOf(value) });
  }
  return found;
}

function deviceOf({ data }: Value): Device {
  if (data.length === MBR_BYTES) {
    const diskSignature = data.readUInt32LE(0).toString(16).padStart(8, "0");
    return { diskSignature, offset: data.readUInt32LE(4) + data.readUInt32LE(8) * 2 ** 32 };
  }
  if (data.length === GPT_BYTES && data.toString("latin1", 0, GPT_PARTITION.length) === GPT_PARTITION)
    return { partition: guid(data, GPT_PARTITION.length) };
  return { device: data.toString("utf16le", 0, MOST_DEVICE_BYTES) };
}

/** A GUID as it is written: its first three parts are little-endian numbers. */
function guid(data: Buffer, at: number): string {
  const number = (offset: number, bytes: number): string =>
    data
      .readUIntLE(at + offset, bytes)
      .toString(16)
      .padStart(2 * bytes, "0");
  const rest = data.toString("hex", at + 8, at + 16);
  return `${number(0, 4)}-${number(4, 2)}-${number(6, 2)}-${rest.slice(0, 4)}-${rest.slice(4)}`;
}

function text(hive: Hive, from: Key, path: readonly string[], name: string): string | undefined {
  const key = hive.key(path, from);
  return (key && textOf(hive.value(key, name))) || undefined;
}
