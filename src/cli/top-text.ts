/** The lines of `slashcloud top`. */
import type { DaemonStatus } from "../daemon/read-status.js";
import { visible } from "./event-text.js";
import { bytesText, msText, rateText } from "./figures-text.js";
import { type Column, tableText } from "./table.js";

const TOP_ORDERS = ["events", "written", "lag", "name"] as const;
export type TopOrder = (typeof TOP_ORDERS)[number];

export function isTopOrder(text: string): text is TopOrder {
  return (TOP_ORDERS as readonly string[]).includes(text);
}

/** A guest as a line. */
interface Row {
  readonly guest: string;
  readonly state: string;
  readonly eventsPerSecond: number;
  readonly events: number;
  readonly commitsPerSecond: number;
  readonly writtenPerSecond: number;
  readonly written: number;
  /** Whether all that is written is known. */
  readonly isStreamed: boolean;
  /** ms, of the volume where it is longest; undefined: nothing was committed. */
  readonly lag: number | undefined;
  readonly look: number | undefined;
}

const atLeast = (text: string, row: Row): string => (row.isStreamed ? text : `${text}+`);

const COLUMNS: readonly Column<Row>[] = [
  ["GUEST", ({ guest }) => visible(guest)],
  ["STATE", ({ state }) => state],
  ["EVENTS/S", ({ eventsPerSecond }) => rateText(eventsPerSecond)],
  ["EVENTS", ({ events }) => String(events)],
  ["COMMITS/S", ({ commitsPerSecond }) => rateText(commitsPerSecond)],
  ["WRITTEN/S", (row) => atLeast(bytesText(row.writtenPerSecond), row)],
  ["WRITTEN", (row) => atLeast(bytesText(row.written), row)],
  ["COMMIT LAG", ({ lag }) => msText(lag)],
  ["LOOKED", ({ look }) => (look === undefined ? "-" : `${msText(look)} ago`)],
];

const by: Readonly<Record<TopOrder, (a: Row, b: Row) => number>> = {
  events: (a, b) => b.eventsPerSecond - a.eventsPerSecond || b.events - a.events,
  written: (a, b) => b.writtenPerSecond - a.writtenPerSecond || b.written - a.written,
  lag: (a, b) => (b.lag ?? Number.NEGATIVE_INFINITY) - (a.lag ?? Number.NEGATIVE_INFINITY),
  name: () => 0,
};

/** A line on the daemon, the guests in that order, and what is not well. */
export function topLines(status: DaemonStatus, order: TopOrder): string[] {
  const { host, events, commits, written, processes, problems, guests, volumes } = status;
  const memory = processes.reduce((sum, { rss }) => sum + (rss ?? 0), 0);
  const head = [
    `slashcloud on ${visible(host)}: ${guests.length} guest${guests.length === 1 ? "" : "s"}, ${volumes.length} volume${volumes.length === 1 ? "" : "s"}`,
    `${rateText(events.perSecond)} events/s`,
    `${rateText(commits.perSecond)} commits/s`,
    `${bytesText(written.perSecond)}/s written`,
    `${bytesText(memory)} memory`,
    problems.length === 0 ? "all is well" : `${problems.length} not well`,
  ];
  const rows = rowsOf(status).sort((a, b) => by[order](a, b) || (a.guest < b.guest ? -1 : 1));
  const lines = [head.join(", "), "", ...tableText(COLUMNS, rows).trimEnd().split("\n")];
  if (problems.length > 0)
    lines.push("", ...problems.map(({ what, reason }) => `${visible(what)}: ${visible(reason)}`));
  return lines;
}

function rowsOf({ activity, volumes, unavailable }: DaemonStatus): Row[] {
  const missing = new Set(unavailable.map(({ guest }) => guest));
  const rows = activity.map(({ guest, events, commits, written, look, isStale }): Row => {
    const own = volumes.filter((volume) => volume.guest === guest);
    const lags = own.flatMap(({ lag }) => lag.commit ?? []);
    const followed = own.filter(({ capture }) => capture !== "none");
    return {
      guest,
      state: missing.has(guest) ? "not open" : isStale ? "stale" : "current",
      eventsPerSecond: events.perSecond,
      events: events.total,
      commitsPerSecond: commits.perSecond,
      writtenPerSecond: written.perSecond,
      written: written.total,
      isStreamed: followed.length > 0 && followed.every(({ capture }) => capture === "stream"),
      lag: lags.length === 0 ? undefined : Math.max(...lags),
      look,
    };
  });
  const shown = new Set(rows.map(({ guest }) => guest));
  for (const guest of missing) if (!shown.has(guest)) rows.push(unopened(guest));
  return rows;
}

function unopened(guest: string): Row {
  return {
    guest,
    state: "not open",
    eventsPerSecond: 0,
    events: 0,
    commitsPerSecond: 0,
    writtenPerSecond: 0,
    written: 0,
    isStreamed: true,
    lag: undefined,
    look: undefined,
  };
}
