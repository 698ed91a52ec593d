/**
 * How a directory's stored names look to a user: as they are, or, in an encrypted directory, as the kernel shows them
 * without the key (struct fscrypt_nokey_name; kernel documentation, "Filesystem-level encryption"); and which stored
 * names a user's name stands for, where case is folded.
 */
import { createHash } from "node:crypto";

/** Bytes of a ciphertext that a no-key name carries as they are; of what is longer it carries a hash. */
const CARRIED = 149;

/** The no-key name of an encrypted name: base64url of the directory hash, minor hash and the ciphertext. */
export function noKeyName(ciphertext: Buffer, hash: number, minorHash: number): Buffer {
  const isLong = ciphertext.length > CARRIED;
  const name = Buffer.alloc(8 + (isLong ? CARRIED + 32 : ciphertext.length));
  name.writeUInt32LE(hash, 0);
  name.writeUInt32LE(minorHash, 4);
  ciphertext.copy(name, 8, 0, CARRIED);
  if (isLong)
    createHash("sha256")
      .update(ciphertext.subarray(CARRIED))
      .digest()
      .copy(name, 8 + CARRIED);
  return Buffer.from(name.toString("base64url"), "latin1");
}

/** A name with its case folded, as near to the kernel's (NFD with full case folding) as ECMAScript's tables come. */
export function foldCase(name: Buffer): Buffer {
  const string = name.toString("utf8");
  if (string.includes("\ufffd") && !Buffer.from(string, "utf8").equals(name)) return name;
  const folded = string.normalize("NFD").toUpperCase().toLowerCase().normalize("NFD").replace(IGNORED, "");
  return Buffer.from(folded, "utf8");
}

/** Code points that take no part in a comparison (Unicode's Default_Ignorable_Code_Point). */
const IGNORED = /\p{Default_Ignorable_Code_Point}/gu;
