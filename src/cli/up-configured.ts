/** `slashcloud up --config`: what the configuration says, where the command line does not. */
import { findOwners } from "../daemon/accounts.js";
import { readConfiguration } from "../daemon/config/configuration.js";
import { planOf } from "../daemon/config/guest-plan.js";
import type { Settings } from "../daemon/config/settings.js";
import type { GuestSpec } from "../daemon/guest-name.js";
import type { GuestPlan } from "../daemon/guests/plan.js";
import type { Policy } from "../daemon/serve.js";
import { eventsOf, type IsGiven, type UpOptions } from "./up.js";

export interface ConfiguredUp {
  /** Of the command line, with what the configuration has. */
  readonly options: UpOptions;
  readonly plan: GuestPlan;
  /** Reads the configuration again. Throws UserError. */
  readonly reread: () => Promise<GuestPlan>;
}

export interface ConfiguredUpOptions {
  readonly file: string;
  readonly given: UpOptions;
  readonly isGiven: IsGiven;
  /** The guests of the command line. */
  readonly named: readonly GuestSpec[];
  /** Reads the command line's policy; undefined: it names none. */
  readonly readPolicy: (() => Policy) | undefined;
}

/** What is changed only by another start. By the names of the configuration. */
const FIXED: ReadonlyArray<readonly [name: string, of: (options: UpOptions) => unknown]> = [
  ["mount", ({ mount }) => mount],
  ["host", ({ host }) => host],
  ["driver", ({ driver }) => driver],
  ["state", ({ state }) => state],
  ["events.enabled", ({ events }) => events],
  [
    "capture",
    ({ tap, flushTimeout, sizeLimit, outstandingWrites, underPressure, unknownLife }) => [
      ...[tap, flushTimeout, sizeLimit, outstandingWrites, underPressure, unknownLife],
    ],
  ],
  ["metrics", ({ metrics }) => metrics],
  ["log", ({ log }) => log],
];

/** Throws UserError. */
export async function configuredUp({
  file,
  given,
  isGiven,
  named,
  readPolicy,
}: ConfiguredUpOptions): Promise<ConfiguredUp> {
  const first = readConfiguration(file);
  const options = withSettings(given, isGiven, first.settings);
  /** The command line's file is a policy as a whole. Throws UserError for an account that there is not. */
  const policyOf = ({ policy = [], ownership = [] }: Settings): Policy =>
    readPolicy?.() ?? { rules: policy, ownership: findOwners(ownership, first.file) };
  const planFor = async (settings: Settings, now: UpOptions, guests: typeof first): Promise<GuestPlan> => {
    // Crawls are for the first server.
    const { crawl: _, ...others } = now;
    return {
      ...(await planOf(guests, options.mount)),
      settings: {
        events: eventsOf(others, named),
        policy: policyOf(settings),
        matching: { ignoresCase: now.ignoreCase ?? false },
      },
      notes: notesOn(options, now),
    };
  };
  return {
    options,
    plan: await planFor(first.settings, options, first),
    reread: async () => {
      const again = readConfiguration(file);
      return planFor(again.settings, withSettings(given, isGiven, again.settings), again);
    },
  };
}

/** The options, with the settings where the user has given none. */
function withSettings(given: UpOptions, isGiven: IsGiven, settings: Settings): UpOptions {
  const { mount, host, driver, state, events, redis, capture, metrics, log } = settings;
  const configured: { readonly [Key in keyof UpOptions]?: UpOptions[Key] | undefined } = {
    mount,
    host,
    driver,
    state,
    events: events.enabled,
    eventsSize: events.size,
    listEvents: settings.listEvents ?? events.list,
    redis: redis?.url,
    redisStream: redis?.stream,
    redisData: redis?.data,
    ...capture,
    metrics: metrics?.listen,
    log: log.format,
    ignoreCase: settings.ignoreCase,
  };
  const used = Object.entries(configured).filter(([name, value]) => value !== undefined && !isGiven(name));
  return { ...given, ...Object.fromEntries(used) };
}

/** What would be different after another start, in a line. */
function notesOn(before: UpOptions, now: UpOptions): string[] {
  const changed = FIXED.filter(([, of]) => JSON.stringify(of(before)) !== JSON.stringify(of(now)));
  if (changed.length === 0) return [];
  const names = changed.map(([name]) => name).join(", ");
  return [`${names}: changed in the configuration, and stays as it was until slashcloud is started again`];
}
