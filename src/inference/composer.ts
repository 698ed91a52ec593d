/** From what a transaction changed to events, with the paths that its files have at that moment. */
import type { EventKind } from "../events/event.js";
import type { Changes, InodeChange, InodeState } from "../filesystems/changes.js";
import { FileType } from "../filesystems/filesystem.js";
import type { FileEvent, Names } from "./file-event.js";
import { type NamePlace, type NameStep, nameSteps } from "./name-steps.js";

/**
 * The events of a transaction, in an order in which a reader of paths can follow them. Moves `names` on to after the
 * transaction; undefined: what is not known of paths is left out.
 */
export function composeEvents(changes: Changes, names: Names | undefined): FileEvent[] {
  return new Composer(changes, names).events;
}

/** Moves `names` back to before a transaction. */
export function undoNames({ names: changed }: Changes, names: Names): void {
  for (const { directory, name, now } of changed) if (now !== 0) names.unlink(directory, name, now);
  for (const { directory, name, ino } of changed) if (ino !== 0) names.link(directory, name, ino);
}

class Composer {
  readonly events: FileEvent[] = [];
  readonly #names: Names | undefined;
  readonly #inodes: ReadonlyMap<number, InodeChange>;
  /** Names that a file has at that moment, where the transaction gives it some or takes some away. */
  readonly #links = new Map<number, number>();
  /** By inode: a name, for those whose paths nobody knows. */
  readonly #places = new Map<number, NamePlace>();

  constructor(changes: Changes, names: Names | undefined) {
    this.#names = names;
    this.#inodes = new Map(changes.inodes.map((change) => [change.ino, change]));
    const born = new Set<number>();
    /** Files that have another number now: what they were, by the new number; and the numbers that they had. */
    const arrived = new Map<number, InodeState | undefined>();
    const left = new Set<number>();
    for (const step of nameSteps(changes, names)) {
      this.#addNameEvent(step);
      const { ino, was, isBorn } = step;
      if (isBorn) born.add(ino);
      if (ino === was) continue;
      arrived.set(ino, this.#inodes.get(was)?.old);
      left.add(was);
    }
    for (const found of changes.inodes) {
      const { ino, now } = found;
      const change = arrived.has(ino) ? { ...found, old: arrived.get(ino) } : found;
      const { old } = change;
      // The number is another file's now, and what that was told as is all.
      if (left.has(ino) && !arrived.has(ino) && !born.has(ino)) continue;
      if (now === undefined || now.nlink === 0) continue;
      if (old !== undefined && old.nlink > 0 && old.generation === now.generation && !born.has(ino))
        this.#addChangeEvents(change);
      else if (born.has(ino) && change.attributes !== undefined) this.#addInodeEvent("xattr", change);
    }
  }

  #addNameEvent(step: NameStep): void {
    const { ino, was, from, to } = step;
    const names = this.#names;
    const change = this.#changeOf(step);
    const fromName = from === undefined ? undefined : Buffer.from(from.name, "latin1");
    const toName = to === undefined ? undefined : Buffer.from(to.name, "latin1");
    const scopes = new Set<number>();
    let fromPath: Buffer | undefined;
    if (from !== undefined && fromName !== undefined) {
      for (const directory of names?.ancestors(from.directory) ?? [from.directory]) scopes.add(directory);
      fromPath = names?.pathOf(from.directory, fromName);
      names?.unlink(from.directory, fromName, was);
    }
    let toPath: Buffer | undefined;
    if (to !== undefined && toName !== undefined) {
      names?.link(to.directory, toName, ino);
      toPath = names?.pathOf(to.directory, toName);
      for (const directory of names?.ancestors(to.directory) ?? [to.directory]) scopes.add(directory);
      this.#places.set(ino, to);
    }
    // Only its entry has been put elsewhere.
    if (ino !== was && fromName?.equals(toName ?? fromName) && from?.directory === to?.directory) return;
    const state = change?.now ?? change?.old;
    if (state !== undefined && isDirectory(state)) scopes.add(ino);
    const kind = kindOf(step, change);
    const states = this.#statesAt(step, change);
    this.events.push({
      kind,
      ino,
      ...states,
      directory: (to ?? from)?.directory ?? 0,
      name: toName ?? fromName,
      path: to === undefined ? fromPath : toPath,
      fromDirectory: kind === "renamed" ? (from?.directory ?? 0) : 0,
      from: kind === "renamed" ? fromPath : undefined,
      range: undefined,
      attributes: undefined,
      target: kind === "symlink" ? change?.target : undefined,
      scopes: [...scopes],
    });
  }

  /** What becomes of a step's file; where only its name changes, it is as it is known. Undefined: it is not. */
  #changeOf({ ino, was }: NameStep): InodeChange | undefined {
    const change = this.#inodes.get(ino);
    if (ino !== was) return change && { ...change, old: this.#inodes.get(was)?.old };
    if (change !== undefined) return change;
    const state = this.#names?.state(ino);
    return state === undefined ? undefined : { ino, old: state, now: state };
  }

  /** The states before and after a step: with the number of names that the file has there. */
  #statesAt({ ino, from, to, isBorn, isDead }: NameStep, change: InodeChange | undefined) {
    const state = change?.old ?? change?.now;
    if (state === undefined || isDirectory(state) || (from !== undefined && to !== undefined))
      return { old: isBorn ? undefined : change?.old, now: isDead ? undefined : change?.now };
    const before = this.#links.get(ino) ?? (isBorn ? 0 : (change?.old?.nlink ?? 0));
    const after = to === undefined ? before - 1 : before + 1;
    this.#links.set(ino, after);
    return {
      old: isBorn || change?.old === undefined ? undefined : { ...change.old, nlink: before },
      now: isDead || change?.now === undefined ? undefined : { ...change.now, nlink: after },
    };
  }

  #addChangeEvents(change: InodeChange): void {
    const { old, now, attributes, target } = change as InodeChange & { old: InodeState; now: InodeState };
    const isRegular = (now.mode & FileType.MASK) === FileType.REGULAR;
    const hasNewMtime = old.mtime !== now.mtime || old.mtimeNsec !== now.mtimeNsec;
    // A write sets both times to the same moment; whoever sets the mtime alone (utimes) sets another one.
    const isWritten = hasNewMtime && now.mtime === now.ctime && now.mtimeNsec === now.ctimeNsec;
    if (isRegular && (old.size !== now.size || isWritten)) this.#addInodeEvent("content", change);
    if (target !== undefined) this.#addInodeEvent("symlink", change);
    const isSet =
      old.mode !== now.mode ||
      old.uid !== now.uid ||
      old.gid !== now.gid ||
      old.flags !== now.flags ||
      (hasNewMtime && !isWritten);
    if (isSet) this.#addInodeEvent("attributes", change);
    if (attributes !== undefined) this.#addInodeEvent("xattr", change);
  }

  #addInodeEvent(kind: EventKind, change: InodeChange): void {
    const { ino, old, now } = change;
    const names = this.#names;
    const [first] = names?.names(ino) ?? [];
    const place = first ?? this.#places.get(ino);
    const scopes = new Set(
      place === undefined ? [] : (names?.ancestors(place.directory) ?? [place.directory]),
    );
    if (now !== undefined && isDirectory(now)) scopes.add(ino);
    this.events.push({
      kind,
      ino,
      old,
      now,
      directory: place?.directory ?? 0,
      name: first?.name ?? (place === undefined ? undefined : Buffer.from(place.name as string, "latin1")),
      path: names?.path(ino),
      fromDirectory: 0,
      from: undefined,
      range: kind === "content" ? changedRange(old, now) : undefined,
      attributes: kind === "xattr" ? change.attributes : undefined,
      target: kind === "symlink" ? change.target : undefined,
      scopes: [...scopes],
    });
  }
}

function kindOf({ from, to, isBorn, isDead }: NameStep, change: InodeChange | undefined): EventKind {
  if (to === undefined) return isDead ? "deleted" : "unlinked";
  if (from !== undefined) return "renamed";
  if (!isBorn) return "linked";
  const type = (change?.now?.mode ?? 0) & FileType.MASK;
  return type === FileType.LINK ? "symlink" : "created";
}

/** What is known of the bytes that changed: those that were added or cut off. */
function changedRange(
  old: InodeState | undefined,
  now: InodeState | undefined,
): readonly [number, number] | undefined {
  if (old === undefined || now === undefined || old.size === now.size) return undefined;
  return [Math.min(old.size, now.size), Math.max(old.size, now.size)];
}

function isDirectory({ mode }: InodeState): boolean {
  return (mode & FileType.MASK) === FileType.DIRECTORY;
}
