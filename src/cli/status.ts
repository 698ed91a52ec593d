/** `slashcloud status`: what a daemon follows, and how that goes. */
import { type DaemonStatus, readStatus, type VolumeStatus } from "../daemon/read-status.js";
import { stateDirectoryFor } from "../daemon/state-directory.js";
import { visible } from "./event-text.js";
import { bytesText, msText, rateText } from "./figures-text.js";
import { write } from "./output.js";
import { type Column, tableText } from "./table.js";

export interface StatusOptions {
  readonly mount: string;
  readonly state?: string;
  readonly json?: boolean;
}

/** The exit code where something is not well. */
const NOT_WELL = 3;

const COLUMNS: readonly Column<VolumeStatus>[] = [
  ["GUEST", ({ guest }) => visible(guest)],
  ["VOLUME", ({ volume }) => volume],
  ["STATE", ({ state, isStale }) => (state === "followed" && isStale ? "stale" : state)],
  ["CAPTURE", ({ capture, writes }) => (writes?.isReady === false ? `${capture} (map not yet)` : capture)],
  ["TRANSACTION", ({ transaction }) => transaction?.toString() ?? "-"],
  ["COMMIT LAG", ({ lag }) => msText(lag.commit)],
  ["TAKEN IN", ({ lag }) => msText(lag.take)],
  ["LOOKED", ({ lag }) => (lag.look === undefined ? "-" : `${msText(lag.look)} ago`)],
  ["EVENTS/S", ({ events }) => rateText(events.perSecond)],
  ["EVENTS", ({ events }) => String(events.total)],
  ["PATHS", ({ hasPaths, capture }) => (hasPaths ? "yes" : capture === "none" ? "-" : "not yet")],
  [
    "READ AFRESH",
    ({ reopened, reason, lastReopened }) =>
      reopened === 0 ? "-" : `${reopened} (${reason}, ${lastReopened?.slice(0, 19)}Z)`,
  ],
];

const PROCESS_COLUMNS: readonly Column<DaemonStatus["processes"][number]>[] = [
  ["PROCESS", ({ role }) => role],
  ["PID", ({ pid }) => pid?.toString() ?? "-"],
  ["MEMORY", ({ rss }) => bytesText(rss)],
  ["HEAP", ({ heapUsed }) => bytesText(heapUsed)],
  ["CPU", ({ cpu }) => (cpu === undefined ? "-" : `${cpu.toFixed(1)} s`)],
  ["SINCE", ({ since }) => (since === undefined ? "-" : `${since.slice(0, 19)}Z`)],
];

/** Lines on what publishes events; none if nothing does. */
function redisText({ redis }: DaemonStatus): string {
  if (redis === undefined) return "";
  const { server, since, lastError, published, waiting, missed } = redis;
  const state =
    since === undefined
      ? `not connected (${visible(lastError ?? "not yet")})`
      : `connected since ${since.slice(0, 19)}Z`;
  return `\n${server}: ${state}; events: ${published} published, ${waiting} waiting, ${missed} missed\n`;
}

/** Lines on what is not well; none if all is. */
function problemsText({ problems, volumes }: DaemonStatus): string {
  const lines = problems.map(({ what, reason }) => `${visible(what)}: ${visible(reason)}\n`);
  const limits = volumes.flatMap(({ guest, volume, state, problem }) =>
    state === "unfollowed" ? [`volume ${visible(guest)}/${volume}: ${visible(problem)}\n`] : [],
  );
  const text = [...lines, ...limits].join("");
  return text === "" ? "" : `\n${text}`;
}

/**
 * Prints the volumes, a line each, the daemon's processes, where events are published, and what is not well. Returns the
 * exit code: 0, or 3 if something is not well. Throws UserError if there is no daemon.
 */
export async function status({ mount, state, json }: StatusOptions): Promise<number> {
  const found = await readStatus(stateDirectoryFor(mount, state));
  write(
    json
      ? `${JSON.stringify(found, undefined, 2)}\n`
      : [
          tableText(COLUMNS, found.volumes),
          "\n",
          tableText(PROCESS_COLUMNS, found.processes),
          redisText(found),
          problemsText(found),
        ].join(""),
  );
  return found.problems.length === 0 ? 0 : NOT_WELL;
}
