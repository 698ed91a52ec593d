/** What lies on a disk, as text: `f /dev/sda1 /etc/passwd`. */
import type { Place } from "../daemon/disk-map.js";

/** Its kind, its device, what metadata it is, and its path: each if there is one. */
export function placeText({ kind, device, what, path, inode }: Place): string {
  const parts = [kind, device];
  if (what !== undefined) parts.push(what.replaceAll(" ", "-"));
  if (path !== undefined) parts.push(escaped(path));
  else if (inode !== 0) parts.push(`<${inode}>`);
  return parts.join(" ");
}

/** As JSON has it; a path that is not UTF-8 comes in `pathBytes` as well. */
export function placeFields({ kind, device, what, path, inode }: Place): Record<string, unknown> {
  const text = path?.toString("utf8");
  return {
    kind,
    device,
    what,
    path: text,
    pathBytes: text !== undefined && !Buffer.from(text).equals(path!) ? path!.toString("base64") : undefined,
    inode: inode || undefined,
  };
}

/** A path in one line: backslashes and control characters as `\xNN`. One character a byte. */
function escaped(path: Buffer): string {
  const text = path.toString("latin1");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\x00-\x1f\x7f\\]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}
