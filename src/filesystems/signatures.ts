/** Telling what a volume holds that is not read here, by its signature, so that it can be named (as blkid names it). */
import type { Source } from "../images/image.js";
import { readFully } from "../versions/block-cache.js";

interface Signature {
  readonly type: string;
  /** Bytes from the start of the volume. */
  readonly at: number;
  readonly bytes: Buffer;
}

const text = (type: string, at: number, bytes: string): Signature => ({
  type,
  at,
  bytes: Buffer.from(bytes, "latin1"),
});

const SIGNATURES: readonly Signature[] = [
  text("swap", 4086, "SWAPSPACE2"),
  text("swap", 4086, "SWAP-SPACE"),
  text("LVM2_member", 512, "LABELONE"),
  text("LVM2_member", 0, "LABELONE"),
  text("crypto_LUKS", 0, "LUKS\xba\xbe"),
  text("xfs", 0, "XFSB"),
  text("btrfs", 0x10040, "_BHRfS_M"),
  text("ntfs", 3, "NTFS    "),
  text("exfat", 3, "EXFAT   "),
  text("vfat", 82, "FAT32   "),
  text("vfat", 54, "FAT16   "),
  text("vfat", 54, "FAT12   "),
  text("iso9660", 0x8001, "CD001"),
  text("squashfs", 0, "hsqs"),
];

/** Offsets in the header of a swap area (union swap_header: info.uuid, info.volume_name). */
const SWAP_UUID = 1036;
const SWAP_LABEL = 1052;
const LOOKED_AT = 0x10048;

/** What the volume's signature says; undefined if it has none of those known. Throws IoError when it cannot be read. */
export function identifyBySignature(
  source: Source,
): { type: string; label: string; uuid: string } | undefined {
  const buffer = Buffer.alloc(LOOKED_AT);
  const length = readFully(source, buffer, buffer.length, 0);
  const found = SIGNATURES.find(
    ({ at, bytes }) =>
      at + bytes.length <= length && buffer.compare(bytes, 0, bytes.length, at, at + bytes.length) === 0,
  );
  if (found === undefined) return undefined;
  if (found.type !== "swap") return { type: found.type, label: "", uuid: "" };
  const hex = buffer.toString("hex", SWAP_UUID, SWAP_UUID + 16);
  const uuid = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join(
    "-",
  );
  const [label = ""] = buffer.toString("utf8", SWAP_LABEL, SWAP_LABEL + 16).split("\0", 1);
  return { type: "swap", label, uuid: /[1-9a-f]/.test(hex) ? uuid : "" };
}
