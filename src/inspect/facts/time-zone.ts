/** A guest's time zone. */
import { assignments } from "../assignments.js";
import type { Reader } from "../reader.js";

const ZONES = "zoneinfo/";
/** A name of the time zone database's; what else a guest may write there is none. */
const NAME = /^[A-Za-z0-9_+-]+(?:\/[A-Za-z0-9_+-]+)*$/;

/** `Europe/Berlin`; undefined if no file has it. */
export async function timeZone(reader: Reader): Promise<string | undefined> {
  const target = linkTarget(reader) ?? "";
  const at = target.indexOf(ZONES);
  const linked = at < 0 ? "" : target.slice(at + ZONES.length).replace(/^(?:posix|right)\//, "");
  if (NAME.test(linked)) return linked;
  const written = (await reader.text("/etc/timezone"))?.split("\n", 1)[0]?.trim() ?? "";
  if (NAME.test(written)) return written;
  for (const [path, variable] of [
    ["/etc/sysconfig/clock", "ZONE"],
    ["/etc/TIMEZONE", "TZ"],
  ] as const) {
    const assigned = assignments((await reader.text(path)) ?? "").get(variable) ?? "";
    if (NAME.test(assigned)) return assigned;
  }
  return undefined;
}

function linkTarget(reader: Reader): string | undefined {
  try {
    return reader.linkTarget("/etc/localtime");
  } catch {
    // A file of its own, which has no name in it.
    return undefined;
  }
}
