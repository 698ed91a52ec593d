/**
 * Logs of events that were written under another policy: what is hidden now is taken out of them before anybody reads
 * them. Each line keeps its length, and its event its number, so that nothing else of a log changes.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { Grant } from "../cloud/policy/grant.js";
import { GuestPaths } from "../cloud/policy/guest-paths.js";
import type { PolicyRule } from "../cloud/policy/settings.js";
import type { GuestEvent } from "../events/event.js";
import { LineParts, NEWLINE } from "../events/line.js";
import { everythingFolder, guestFolder, segmentPath, segmentsIn } from "../events/log-files.js";
import { eventsFolder } from "./state-directory.js";

const REASON = "hidden by the policy";

/**
 * Takes out of the logs in a state directory what these rules hide, unless that has been done. The logs must not be open.
 * Throws a system error.
 */
export function withholdStored(state: string, rules: readonly PolicyRule[]): void {
  const path = join(state, "policy");
  if (rules.every(({ access }) => access === "show")) {
    // What is written from now on may be hidden by the next policy.
    rmSync(path, { force: true });
    return;
  }
  const digest = createHash("sha256").update(JSON.stringify(rules)).digest("hex");
  if (readIfThere(path) === digest) return;
  const paths = new GuestPaths(rules);
  const root = eventsFolder(state);
  for (const folder of [everythingFolder(root), ...guestsIn(root).map((guest) => guestFolder(root, guest))]) {
    for (const segment of segmentsIn(folder)) withholdIn(segmentPath(folder, segment), paths);
  }
  mkdirSync(state, { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, digest, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function withholdIn(path: string, paths: GuestPaths): void {
  const bytes = readFileSync(path);
  const parts = new LineParts();
  let file = -1;
  try {
    for (let at = 0; at < bytes.length; ) {
      const end = bytes.indexOf(NEWLINE, at);
      if (end < 0) break;
      if (parts.parse(bytes, at, end)) {
        const text = withheld(bytes.toString("utf8", parts.json, end), end - parts.json, paths);
        if (text !== undefined) {
          if (file < 0) file = openSync(path, "r+");
          writeSync(file, text, parts.json);
        }
      }
      at = end + 1;
    }
  } finally {
    if (file >= 0) closeSync(file);
  }
}

/** An event without what is hidden, in as many bytes; undefined: it may stay as it is. */
function withheld(json: string, length: number, paths: GuestPaths): string | undefined {
  let event: GuestEvent;
  try {
    event = JSON.parse(json) as GuestEvent;
  } catch {
    return undefined;
  }
  const { id, time, event: kind, host, guest, volume, transaction, part, path, from, old, new: now } = event;
  const hasContents = [old, now].some(
    (values) => values?.target !== undefined || values?.xattrs !== undefined,
  );
  const grants = [path, from].flatMap((one) => (one === undefined ? [] : [paths.grant(guest, volume, one)]));
  const most = hasContents ? Grant.SHOW : Grant.METADATA;
  if (event.name === undefined && grants.every((grant) => grant <= most)) return undefined;
  if (event.name !== undefined && !paths.isRestricted(guest, volume)) return undefined;
  const kept = { id, time, event: kind, host, guest, volume, transaction, part };
  const whole = JSON.stringify({ ...kept, reason: REASON });
  const text = Buffer.byteLength(whole) <= length ? whole : JSON.stringify(kept);
  return `${text.slice(0, -1)}${" ".repeat(Math.max(0, length - Buffer.byteLength(text)))}}`;
}

function guestsIn(root: string): string[] {
  try {
    return readdirSync(join(root, "guests"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
