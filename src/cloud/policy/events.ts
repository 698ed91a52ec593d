/**
 * What a policy leaves of a volume's events. What is hidden is in none of them; what comes out of hiding is told as
 * created, what goes into it as deleted; of files of which only attributes are shown, contents are left out.
 */
import { Grant, stricter } from "./grant.js";
import type { PathState } from "./path-state.js";
import type { NameOf } from "./volume-access.js";

/** Of an event, what a policy looks at. */
export interface PolicedEvent {
  readonly kind: string;
  readonly ino: number;
  readonly old: unknown;
  readonly now: unknown;
  readonly directory: number;
  readonly name: Buffer | undefined;
  /** From the volume's root. */
  readonly path: Buffer | undefined;
  readonly fromDirectory: number;
  readonly from: Buffer | undefined;
  readonly attributes: unknown;
  readonly target: unknown;
  /** The directories that it is at or below. */
  readonly scopes: readonly number[];
}

/** The names of a volume, as the events leave them. */
export interface KnownNames {
  names(ino: number): readonly NameOf[];
  pathOf(directory: number, name: Buffer): Buffer | undefined;
  ancestors(directory: number): readonly number[];
}

/** Other names of a file that are told of when they come to be hidden or shown with one of them. */
const MOST_NAMES = 1000;
const SLASH = 0x2f;

/** What is granted of a path from a volume's root, whose state is `root`. */
export function grantOfPath(root: PathState, path: Buffer): Grant {
  let state = root;
  for (let at = 1; at < path.length && !state.isFinal; ) {
    const slash = path.indexOf(SLASH, at);
    const end = slash < 0 ? path.length : slash;
    state = state.next(path.toString("utf8", at, end));
    at = end + 1;
  }
  return state.grant;
}

/** What is granted of a file by all the names that are known of it; of one of which none is, nothing. */
export function grantOfNames(root: PathState, names: KnownNames, ino: number): Grant {
  const known = names.names(ino);
  return known.length === 0 ? Grant.HIDE : grantOfAll(root, names, known);
}

/** The events that may be told, in their order. Those without a path may not. */
export function policedEvents<Event extends PolicedEvent>(
  events: readonly Event[],
  root: PathState,
  names: KnownNames,
): Event[] {
  return events.flatMap((event) => policed(event, root, names));
}

function policed<Event extends PolicedEvent>(event: Event, root: PathState, names: KnownNames): Event[] {
  const { kind, path, from, ino } = event;
  if (path === undefined) return [];
  const here = grantOfPath(root, path);
  const others = names
    .names(ino)
    .filter(({ directory, name }) => directory !== event.directory || event.name?.equals(name) !== true);
  const beside = grantOfAll(root, names, others);
  const grant = stricter(here, beside);
  if (kind === "renamed") {
    const before = from === undefined ? Grant.HIDE : stricter(grantOfPath(root, from), beside);
    if (grant === Grant.HIDE && before === Grant.HIDE) return vanishing(event, beside, here, others, names);
    if (before === Grant.HIDE) return [shown(withheld(event, grant), names)];
    if (grant === Grant.HIDE) return [hidden(withheld(event, before), names)];
    return [withheld(event, stricter(grant, before))];
  }
  if (grant !== Grant.HIDE) return [withheld(event, grant)];
  return vanishing(event, beside, here, others, names);
}

/** With a hidden name, a file's other names come to be hidden, or shown again. */
function vanishing<Event extends PolicedEvent>(
  event: Event,
  beside: Grant,
  here: Grant,
  others: readonly NameOf[],
  names: KnownNames,
): Event[] {
  if (here !== Grant.HIDE || beside === Grant.HIDE) return [];
  const isHidden = event.kind === "linked";
  if (!isHidden && event.kind !== "unlinked") return [];
  return others.slice(0, MOST_NAMES).flatMap(({ directory, name }) => {
    const path = names.pathOf(directory, name);
    if (path === undefined) return [];
    const named = { ...event, directory, name, path, from: undefined, fromDirectory: 0 };
    return [
      isHidden
        ? hidden({ ...named, from: path, fromDirectory: directory }, names)
        : shown(withheld(named, beside), names),
    ];
  });
}

/** The event of a file that has come to be shown. */
function shown<Event extends PolicedEvent>(event: Event, names: KnownNames): Event {
  const scopes = names.ancestors(event.directory);
  return { ...event, kind: "created", old: undefined, from: undefined, fromDirectory: 0, scopes };
}

/** The event of a file that has come to be hidden: of its former name. */
function hidden<Event extends PolicedEvent>(event: Event, names: KnownNames): Event {
  const { from, fromDirectory, old, now } = event;
  const scopes = names.ancestors(fromDirectory);
  return {
    ...event,
    kind: "deleted",
    old: old ?? now,
    now: undefined,
    path: from,
    directory: fromDirectory,
    name: undefined,
    from: undefined,
    fromDirectory: 0,
    target: undefined,
    attributes: undefined,
    scopes,
  };
}

/** Without what only those may have who may read the file. */
function withheld<Event extends PolicedEvent>(event: Event, grant: Grant): Event {
  return grant === Grant.SHOW ? event : { ...event, attributes: undefined, target: undefined };
}

/** The strictest of what is granted by names. */
function grantOfAll(root: PathState, names: KnownNames, all: readonly NameOf[]): Grant {
  let grant: Grant = Grant.SHOW;
  for (const { directory, name } of all) {
    const path = names.pathOf(directory, name);
    grant = stricter(grant, path === undefined ? Grant.HIDE : grantOfPath(root, path));
  }
  return grant;
}
