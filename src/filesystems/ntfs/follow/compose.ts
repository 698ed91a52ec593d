/** What subscribers and the kernel are told of what has been taken. */
import { IoError } from "../../../images/io-error.js";
import type { AttributesChange, AttributeValues, Changes, InodeChange, NameChange } from "../../changes.js";
import { FileType } from "../../filesystem.js";
import { Inode } from "../inode.js";
import type { Parts } from "../parts.js";
import type { Accepted } from "./accepted.js";
import type { Entity } from "./entity.js";
import { nameKey, type Side } from "./side.js";

/** Attributes of one file, and bytes of one, that are told. */
const MOST_ATTRIBUTES = 1000;
const LONGEST_ATTRIBUTE = 65536;

/** To be called while `accepted` is what was before; `now` reads what comes after. */
export class Composer {
  readonly #accepted: Accepted;
  readonly #now: Parts;
  readonly #oldInode: Inode;
  readonly #nowInode: Inode;

  constructor(accepted: Accepted, now: Parts) {
    this.#accepted = accepted;
    this.#now = now;
    this.#oldInode = new Inode(accepted.parts.mft);
    this.#nowInode = new Inode(now.mft);
  }

  compose(entities: readonly Entity[]): Changes {
    const inodes: InodeChange[] = [];
    const names = new Map<string, NameChange>();
    const generations = new Map<number, number>();
    for (const { ino, old, now } of entities)
      generations.set(ino, (old?.isDirectory === true ? old.generation : now?.generation) ?? 0);
    const change = ({ names: all }: Side, other: Side, isNow: boolean) => {
      for (const [key, { directory, name }] of all) {
        if (other.names.has(key) || !this.#accepted.isListed(directory)) continue;
        const told = names.get(key);
        const { ino } = other;
        const generation = generations.get(directory) ?? 0;
        names.set(nameKey(directory, name), {
          directory,
          generation,
          name,
          ino: isNow ? (told?.ino ?? 0) : ino,
          now: isNow ? ino : (told?.now ?? 0),
        });
      }
    };
    for (const entity of entities) {
      const { old, now } = entity;
      if (old === undefined || now === undefined) continue;
      change(old, now, false);
      change(now, old, true);
      const inode = entity.records.size > 0 ? this.#inodeChange(old, now) : undefined;
      if (inode !== undefined) inodes.push(inode);
    }
    return { inodes, names: [...names.values()], unsureInodes: [], unsureDirectories: [] };
  }

  #inodeChange(old: Side, now: Side): InodeChange | undefined {
    const { ino } = now;
    const before = this.#accepted.isShown(old) ? old.state : undefined;
    const after = this.#accepted.isShown(now) ? now.state : undefined;
    if (before === undefined && after === undefined) return undefined;
    const isSame = before !== undefined && before.generation === after?.generation;
    const attributes = after && this.#attributes(ino, isSame, before?.hasAttributes || after.hasAttributes);
    const wasLink = isSame && (before.mode & FileType.MASK) === FileType.LINK;
    const isLink = after !== undefined && (after.mode & FileType.MASK) === FileType.LINK;
    const target = isLink && !wasLink ? this.#target(ino) : undefined;
    return {
      ino,
      old: before,
      now: after,
      ...(attributes === undefined ? {} : { attributes }),
      ...(target === undefined ? {} : { target }),
    };
  }

  #attributes(ino: number, isSame: boolean, any: boolean | undefined): AttributesChange | undefined {
    if (any !== true) return undefined;
    const before = isSame ? values(this.#accepted.parts, this.#oldInode, ino) : new Map<string, Buffer>();
    const after = values(this.#now, this.#nowInode, ino);
    const old = without(before, after);
    const now = without(after, before);
    return old.size + now.size === 0 ? undefined : { old, now };
  }

  #target(ino: number): Buffer | undefined {
    try {
      return this.#now.links.target(this.#nowInode.load(ino));
    } catch (error) {
      if (error instanceof IoError) return undefined;
      throw error;
    }
  }
}

/** What can be read of a file's attributes. */
function values({ extendedAttributes }: Parts, inode: Inode, ino: number): AttributeValues {
  const found = new Map<string, Buffer>();
  try {
    extendedAttributes.each(inode.load(ino), (name, size, copy) => {
      if (size <= LONGEST_ATTRIBUTE) found.set(name, copy());
      return found.size === MOST_ATTRIBUTES;
    });
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
  }
  return found;
}

/** What is in one that is not in the other, or is something else there. */
function without(one: AttributeValues, other: AttributeValues): AttributeValues {
  return new Map([...one].filter(([name, value]) => other.get(name)?.equals(value) !== true));
}
