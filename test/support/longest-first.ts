/** The order in which vitest takes the files: the longest first, so that at the end no worker has to wait for another. */
import { basename } from "node:path";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * The files of more than half a minute or so, about the longest first: those that mostly wait beside those that mostly
 * compute. One that is missing here begins later, no more.
 */
const LONG = [
  ...["oracle", "service", "live", "live-images", "log-guest", "ntfs-oracle", "fat-live", "install", "fuzz"],
  ...["inference", "nbd-guests", "reload", "nbd-client", "qmp", "nbdkit", "guests", "libvirt", "exfat-live"],
];

function rank({ moduleId }: TestSpecification): number {
  const at = LONG.indexOf(basename(moduleId, ".test.ts"));
  return at < 0 ? LONG.length : at;
}

/** The rest is in vitest's own order. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
