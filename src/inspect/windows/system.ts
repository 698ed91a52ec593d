/** What SOFTWARE tells of a Windows system. */
import type { OperatingSystem } from "../facts/operating-system.js";
import type { Hive, Key } from "../registry/hive.js";
import { numberOf, textOf } from "../registry/value.js";

const CURRENT_VERSION = ["Microsoft", "Windows NT", "CurrentVersion"];
/** The first build of Windows 11, whose ProductName still says Windows 10. */
const WINDOWS_11 = 22_000;

export interface SystemFacts {
  readonly operatingSystem: OperatingSystem;
  /** `Professional`; "" if it is not told. */
  readonly edition: string;
  /** When it was installed, or last upgraded, UTC; "" if it is not told. */
  readonly installed: string;
}

/** Undefined if the hive has none of it. `source` is the hive's path. */
export function systemFacts(hive: Hive, source: string): SystemFacts | undefined {
  const key = hive.key(CURRENT_VERSION);
  if (key === undefined) return undefined;
  const text = (...names: string[]): string =>
    names.map((name) => textOf(hive.value(key, name))).find(Boolean) ?? "";
  const build = text("CurrentBuild", "CurrentBuildNumber");
  const told = text("ProductName") || "Windows";
  const name = Number(build) >= WINDOWS_11 ? told.replace(/^Windows 10\b/, "Windows 11") : told;
  const codename = text("DisplayVersion", "ReleaseId");
  const version = versionOf(hive, key, build);
  return {
    operatingSystem: {
      id: "windows",
      name,
      version,
      codename,
      description: [name, codename, text("CSDVersion"), version && `(${version})`].filter(Boolean).join(" "),
      source,
    },
    edition: text("EditionID"),
    installed: utc(numberOf(hive.value(key, "InstallDate"))),
  };
}

/** `10.0.19045.3803`: since Windows 10 the first two are numbers of their own, and the last counts updates. */
function versionOf(hive: Hive, key: Key, build: string): string {
  const number = (name: string): number | undefined => numberOf(hive.value(key, name));
  const [major, minor] = [number("CurrentMajorVersionNumber"), number("CurrentMinorVersionNumber")];
  const release =
    major !== undefined && minor !== undefined
      ? `${major}.${minor}`
      : (textOf(hive.value(key, "CurrentVersion")) ?? "");
  return [release, build, number("UBR")?.toString() ?? ""].filter((part) => part !== "").join(".");
}

/** Seconds since 1970 as text. Windows has 32 bits for them. */
function utc(seconds: number | undefined): string {
  return seconds === undefined || seconds >= 2 ** 32
    ? ""
    : `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}
