/** Changes on their way to another thread: what is posted there arrives without its class. */
import type { AttributeValues, Changes, InodeChange } from "../filesystems/changes.js";

/** To be posted: bytes on their own, as with a view all that it is a view of would be copied. */
export function toPost(changes: Changes): Changes {
  return mapBytes(changes, (bytes) => new Uint8Array(bytes) as Buffer);
}

/** As they were before they were posted. */
export function fromPost(changes: Changes): Changes {
  return mapBytes(changes, ({ buffer, byteOffset, length }) => Buffer.from(buffer, byteOffset, length));
}

function mapBytes(changes: Changes, map: (bytes: Buffer) => Buffer): Changes {
  const { inodes, names, unsureInodes } = changes;
  const values = (attributes: AttributeValues) =>
    new Map([...attributes].map(([name, value]) => [name, map(value)]));
  const inode = (change: InodeChange): InodeChange => {
    const { attributes, target } = change;
    return {
      ...change,
      ...(attributes && {
        attributes: { old: attributes.old && values(attributes.old), now: values(attributes.now) },
      }),
      ...(target && { target: map(target) }),
    };
  };
  return {
    ...changes,
    inodes: inodes.map(inode),
    names: names.map((change) => ({ ...change, name: map(change.name) })),
    unsureInodes: unsureInodes.map(inode),
  };
}
