/** `slashcloud status`: what a daemon follows, and how that goes. */
import { type DaemonStatus, readStatus, type VolumeStatus } from "../daemon/read-status.js";
import { stateDirectoryFor } from "../daemon/state-directory.js";
import { write } from "./output.js";
import { type Column, tableText } from "./table.js";

export interface StatusOptions {
  readonly mount: string;
  readonly state?: string;
  readonly json?: boolean;
}

const COLUMNS: readonly Column<VolumeStatus>[] = [
  ["GUEST", ({ guest }) => guest],
  ["VOLUME", ({ volume }) => volume],
  ["STATE", ({ state }) => state],
  ["CAPTURE", ({ capture, writes }) => (writes?.isReady === false ? `${capture} (map not yet)` : capture)],
  ["TRANSACTION", ({ transaction }) => transaction?.toString() ?? "-"],
  ["PATHS", ({ hasPaths }) => (hasPaths ? "yes" : "not yet")],
  [
    "READ AFRESH",
    ({ reopened, reason, lastReopened }) =>
      reopened === 0 ? "-" : `${reopened} (${reason}, ${lastReopened?.slice(0, 19)}Z)`,
  ],
];

/** A line on what publishes events; empty if nothing does. */
function redisText({ redis }: DaemonStatus): string {
  if (redis === undefined) return "";
  const { server, since, lastError, published, waiting, missed } = redis;
  const state =
    since === undefined
      ? `not connected (${lastError ?? "not yet"})`
      : `connected since ${since.slice(0, 19)}Z`;
  return `\n${server}: ${state}; events: ${published} published, ${waiting} waiting, ${missed} missed\n`;
}

/** A line for each guest that is not shown as it ought to be. */
function unavailableText({ unavailable }: DaemonStatus): string {
  const lines = unavailable.map(({ guest, reason }) => `${guest}: ${reason}\n`);
  return lines.length === 0 ? "" : `\n${lines.join("")}`;
}

/** Prints the volumes that are followed, a line each, and where events are published. Returns the exit code. Throws UserError. */
export async function status({ mount, state, json }: StatusOptions): Promise<number> {
  const found = await readStatus(stateDirectoryFor(mount, state));
  write(
    json
      ? `${JSON.stringify(found, undefined, 2)}\n`
      : `${tableText(COLUMNS, found.volumes)}${unavailableText(found)}${redisText(found)}`,
  );
  return 0;
}
