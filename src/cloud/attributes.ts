/**
 * A guest's extended attributes as users of the host see them. Only `user.` means nothing to a kernel, so those are
 * shown as they are; any other would be taken for the host's own (labels, capabilities, access lists) and is shown
 * under `user.guest.`.
 */
const FOREIGN = "user.guest.";
/** XATTR_NAME_MAX */
const LONGEST_NAME = 255;

/** The names to list. One that becomes too long is left out. */
export function attributeNamesAsSeen(names: readonly string[]): string[] {
  return names
    .map((name) => (name.startsWith("user.") ? name : FOREIGN + name))
    .filter((name) => name.length <= LONGEST_NAME);
}

/** The guest's own name of an attribute that is shown under `user.guest.`; undefined for others. */
export function attributeNameInGuest(name: string): string | undefined {
  return name.startsWith(FOREIGN) ? name.slice(FOREIGN.length) : undefined;
}
