/** What is known of a guest, for people and for programs. */
import type { InspectedGuest } from "../daemon/inspecting/inspect-guest.js";
import { visible } from "./event-text.js";
import { tableText } from "./table.js";

type Windows = NonNullable<InspectedGuest["windows"]>;
type Drive = NonNullable<Windows["drives"]>[number];
type Line = readonly [title: string, texts: readonly string[]];

/** A title, and a line for each fact. */
export function inspectedText(guest: InspectedGuest, withPackages: boolean): string {
  const { operatingSystem: system, architecture, windows, packageDatabases } = guest;
  const facts: readonly Line[] = [
    ["system", system === null ? [] : [system.description]],
    ["host name", one(guest.hostName)],
    ["architecture", one(architecture?.name ?? null)],
    ["time zone", one(guest.timeZone)],
    ...(windows === null ? kernelLines(guest) : windowsLines(windows)),
    [
      "packages",
      packageDatabases.map(({ manager, packages }) =>
        packages === undefined ? `${manager}: not read` : `${manager}: ${packages.length}`,
      ),
    ],
    ...(windows === null ? peopleLines(guest) : []),
    ["notes", guest.notes],
  ];
  const width = Math.max(...facts.map(([title]) => title.length));
  const lines = facts.flatMap(([title, texts]) =>
    (texts.length === 0 ? (title === "notes" ? [] : ["-"]) : texts).map(
      (text, index) => `  ${(index === 0 ? title : "").padEnd(width)}  ${visible(text)}\n`,
    ),
  );
  return `${visible(guest.guest)}\n${lines.join("")}${withPackages ? packagesText(guest) : ""}`;
}

function kernelLines({ kernels }: InspectedGuest): readonly Line[] {
  const text = (kernels ?? []).map(({ version, image }) =>
    image === "" ? `${version} (modules alone)` : version,
  );
  return [["kernels", text]];
}

function peopleLines({ users, logins }: InspectedGuest): readonly Line[] {
  return [
    ["users", (users ?? []).map(({ name, uid, shell }) => `${name} (${uid}, ${shell})`)],
    [
      "last log-ins",
      (logins ?? []).map(({ user, time, line, host }) =>
        [time, user, line, ...(host === "" ? [] : [`from ${host}`])].join(" "),
      ),
    ],
  ];
}

function windowsLines({ edition, installed, drives }: Windows): readonly Line[] {
  return [
    ["edition", edition === "" ? [] : [edition]],
    ["installed", installed === "" ? [] : [installed]],
    ["drives", (drives ?? []).map((drive) => `${drive.letter} ${placeOf(drive)}`)],
  ];
}

function placeOf(drive: Drive): string {
  if ("partition" in drive) return `partition ${drive.partition}`;
  if ("device" in drive) return drive.device;
  return `disk ${drive.diskSignature} at ${drive.offset}`;
}

function one(text: string | null): readonly string[] {
  return text === null ? [] : [text];
}

function packagesText({ packageDatabases }: InspectedGuest): string {
  const rows = packageDatabases.flatMap(({ manager, packages = [] }) =>
    packages.map((each) => ({ manager, ...each })),
  );
  if (rows.length === 0) return "";
  return `\n${tableText(
    [
      ["PACKAGE", ({ name }) => visible(name)],
      ["VERSION", ({ version }) => visible(version)],
      ["ARCHITECTURE", ({ architecture }) => visible(architecture) || "-"],
      ["MANAGER", ({ manager }) => manager],
    ],
    rows,
  )}`;
}

/** As docs/inspect.md has it. */
export function inspectedJson(guest: InspectedGuest, withPackages: boolean): object {
  const { packageDatabases, notes, ...facts } = guest;
  return {
    ...facts,
    packageDatabases: packageDatabases.map(({ manager, path, packages }) => ({
      manager,
      path,
      count: packages?.length ?? null,
      ...(withPackages && { packages: packages ?? null }),
    })),
    notes,
  };
}
