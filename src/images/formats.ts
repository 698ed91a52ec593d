/** Formats of disk images beside raw, as QEMU names its drivers, and of files that a disk is compressed in. */

/** What a disk's first bytes say that it is: `length` bytes of `magic` at `offset`. */
interface Signature {
  readonly format: string;
  readonly offset: number;
  readonly magic: Buffer;
}

/**
 * From QEMU's docs/interop (qcow2.txt, qed_spec.txt), Microsoft's MS-VHDX and the VHD, VMDK and VDI specifications; the .xz
 * file format and RFC 1952 (ID1, ID2 and the one method, CM).
 */
const SIGNATURES: readonly Signature[] = [
  { format: "qcow", offset: 0, magic: Buffer.from("QFI\xfb\0\0\0\x01", "latin1") },
  { format: "qcow2", offset: 0, magic: Buffer.from("QFI\xfb\0\0\0", "latin1") },
  { format: "qed", offset: 0, magic: Buffer.from("QED\0", "latin1") },
  { format: "vmdk", offset: 0, magic: Buffer.from("KDMV", "latin1") },
  { format: "vmdk", offset: 0, magic: Buffer.from("COWD", "latin1") },
  { format: "vmdk", offset: 0, magic: Buffer.from("# Disk DescriptorFile", "latin1") },
  { format: "vhdx", offset: 0, magic: Buffer.from("vhdxfile", "latin1") },
  { format: "vpc", offset: 0, magic: Buffer.from("conectix", "latin1") },
  { format: "vdi", offset: 64, magic: Buffer.from("7f10dabe", "hex") },
  { format: "xz", offset: 0, magic: Buffer.from("fd377a585a00", "hex") },
  { format: "gz", offset: 0, magic: Buffer.from("1f8b08", "hex") },
];

/** What files of a format are named, where that is not the format's own name. */
const FORMAT_OF_ENDING: Readonly<Record<string, string>> = { vhd: "vpc", gzip: "gz" };

/** Those in which a disk of any format lies compressed, with what nbdkit calls them. */
const COMPRESSIONS: Readonly<Record<string, string>> = { xz: "xz", gz: "gzip" };

/** Bytes of a disk's beginning that tell its format. */
export const FORMAT_HEAD = 128;

/** The format that a disk's first bytes are of; `raw` if it is none that is known. */
export function formatByContent(head: Buffer): string {
  const found = SIGNATURES.find(({ offset, magic }) =>
    head.subarray(offset, offset + magic.length).equals(magic),
  );
  return found?.format ?? "raw";
}

/** The format that a file of that name, or a user by that word, says that it is; undefined: none. */
export function formatByName(ending: string): string | undefined {
  const format = FORMAT_OF_ENDING[ending.toLowerCase()] ?? ending.toLowerCase();
  return SIGNATURES.some((signature) => signature.format === format) ? format : undefined;
}

/** What nbdkit calls a compression; undefined: the format is none. */
export function compressionOf(format: string): string | undefined {
  return COMPRESSIONS[format];
}
