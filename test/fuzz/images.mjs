/** The images that are mutated: fixtures/fuzz/make.sh makes them. */
import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

const folder = new URL("../../fixtures/fuzz/", import.meta.url);
const ENDING = ".img.gz";
/** How often each is taken; those with checksums less, as most mutants of theirs end at a checksum. */
const WEIGHTS = {
  "ext4-checksums": 1,
  "ext4-checksums-recover": 1,
  "ext2-revision-0": 1,
  mbr: 1,
  ext4: 4,
  ntfs: 1,
  "ntfs-sectors-4096": 1,
  "ntfs-small-clusters": 1,
};
const WEIGHT = 2;

export const imageNames = readdirSync(folder)
  .filter((name) => name.endsWith(ENDING))
  .map((name) => name.slice(0, -ENDING.length))
  .sort();

const weighted = imageNames.flatMap((name) => Array(WEIGHTS[name] ?? WEIGHT).fill(name));

/** The name of an image, the more often the heavier it is. */
export function pickImage(random) {
  return random.pick(weighted);
}

export function loadImage(name) {
  return gunzipSync(readFileSync(new URL(name + ENDING, folder)));
}
