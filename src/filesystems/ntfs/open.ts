/** Recognising and opening an NTFS volume. */
import type { Log, Source } from "../../images/image.js";
import { BlockCache } from "../../versions/block-cache.js";
import { View } from "../../versions/view.js";
import { EXACT, type NameMatching } from "../filesystem.js";
import type { Follower } from "../follower.js";
import { identifyBySignature } from "../signatures.js";
import { backupGeometry, hasBootSector, readGeometry, requireGeometry } from "./boot-sector.js";
import { NtfsFileSystem } from "./file-system.js";
import { NtfsFollower } from "./follow/follow.js";
import { LiveFiles } from "./follow/live-files.js";
import { PlaceView } from "./follow/place-view.js";
import { MasterFileTable } from "./mft.js";
import { volumeInformation } from "./volume-information.js";

/** Bytes of the cache of somebody who only wants to know the label. */
const SMALL_CACHE = 1 << 20;

/**
 * Whether a volume has NTFS, which may still be one that cannot be opened: by the boot sector, or, where nothing else is
 * at the volume's start, by the copy of that at its end. Throws IoError.
 */
export function isNtfs(source: Source): boolean {
  if (hasBootSector(source)) return true;
  const geometry = backupGeometry(source);
  return geometry !== undefined && identifyBySignature(source) === undefined;
}

/** Type, label and serial number, also of a volume that cannot be opened. Throws IoError. */
export function identifyNtfs(source: Source): { type: string; label: string; uuid: string } {
  const geometry = readGeometry(source);
  if (geometry === undefined) return { type: "ntfs", label: "", uuid: "" };
  const view = new View(source, geometry.blockSize, new BlockCache(SMALL_CACHE));
  const { label } = volumeInformation(new MasterFileTable(geometry, view));
  return { type: "ntfs", label, uuid: geometry.serial };
}

/**
 * Opens an NTFS volume as it is on the disk: what its log has and its places have not is not shown. `matching`: how names
 * are compared; left out: as they are. Throws IoError when it cannot be read.
 */
export function openNtfs(
  source: Source,
  cache: BlockCache,
  log: Log,
  matching: NameMatching = EXACT,
): NtfsFileSystem {
  const geometry = requireGeometry(source);
  const view = new View(source, geometry.blockSize, cache);
  const files = new LiveFiles(geometry, new PlaceView(source, geometry.blockSize, cache));
  return new NtfsFileSystem(geometry, view, files, log, matching);
}

/** Follows an NTFS volume; undefined if there is too much to keep. Throws IoError. */
export function followNtfs(
  source: Source,
  cache: BlockCache,
  log: Log,
  after?: number,
): Follower | undefined {
  return NtfsFollower.open(source, cache, log, after);
}
