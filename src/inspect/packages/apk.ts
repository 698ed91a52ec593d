/** apk's database: paragraphs of fields of one letter. */
import type { Reader } from "../reader.js";
import { MOST_PACKAGES, type Package } from "./package.js";

/** The second is where newer systems have it. */
export const APK_DATABASES = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
const MOST_BYTES = 128 << 20;

/** Undefined if there is no such file. Throws what GuestFiles throws. */
export async function apkPackages(reader: Reader, path: string): Promise<Package[] | undefined> {
  const text = await reader.text(path, MOST_BYTES);
  if (text === undefined) return undefined;
  const found: Package[] = [];
  let [name, version, architecture] = ["", "", ""];
  const take = (): void => {
    if (name !== "" && version !== "") found.push({ name, version, architecture });
    [name, version, architecture] = ["", "", ""];
  };
  for (let at = 0; at < text.length && found.length < MOST_PACKAGES; ) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    const value = text.slice(at + 2, end);
    if (end === at) take();
    else if (text.startsWith("P:", at)) name = value;
    else if (text.startsWith("V:", at)) version = value;
    else if (text.startsWith("A:", at)) architecture = value;
    at = end + 1;
  }
  take();
  return found;
}
