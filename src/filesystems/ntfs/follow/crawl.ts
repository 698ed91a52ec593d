/** Telling the version that has been agreed on, for a map of names. */
import type { NameSink } from "../../crawler.js";
import { SystemRecord } from "../mft.js";
import type { Accepted } from "./accepted.js";
import { baseOf } from "./raw-record.js";
import { isSystem } from "./side.js";

/** Files that are told at once. */
const AT_ONCE = 100;

/** See Follower.crawl. */
export function* crawlAccepted(accepted: Accepted, sink: NameSink): Generator<void> {
  sink.begin(SystemRecord.ROOT);
  let told = 0;
  for (const [ino, bytes] of accepted.records) {
    if (isSystem(ino) || baseOf(bytes, 0, ino) !== ino) continue;
    tell(accepted, ino, sink);
    if (++told % AT_ONCE === 0) yield;
  }
}

function tell(accepted: Accepted, ino: number, sink: NameSink): void {
  // Which blocks it has nobody wants to know.
  const side = accepted.side(ino, 0);
  if (side.state === undefined || !accepted.isShown(side)) return;
  sink.inode(ino, side.state);
  if (ino === SystemRecord.ROOT) return;
  for (const { directory, name } of side.names.values())
    if (accepted.isListed(directory)) sink.name(directory, name, 0, name.length, ino, true);
}
