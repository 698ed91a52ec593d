/** The streams of writes that are told of followed volumes: what is known of each, and from what it is worked out. */
import type { Step } from "../filesystems/follower.js";
import type { Log } from "../images/image.js";
import type { Written } from "../inference/written.js";
import type { WriteRecord } from "../queue/write-record.js";
import type { Crawling } from "./crawling.js";
import type { FollowedVolume } from "./followed-volume.js";
import type { GuestSpec } from "./guest-name.js";
import type { CaptureStatus } from "./status.js";
import type { MetadataTaker } from "./stream-taker.js";
import { VolumeStream } from "./volume-stream.js";

/** ms between two times that it is told where metadata is. */
const METADATA_EVERY = 30_000;

export class VolumeStreams {
  readonly #volumes: readonly FollowedVolume[];
  readonly #specs: ReadonlyMap<string, GuestSpec>;
  readonly #crawling: Crawling;
  readonly #log: Log;
  /** By the keys of volumes. */
  readonly #streams = new Map<string, VolumeStream>();
  #tellMetadata: MetadataTaker | undefined;
  #metadataAt = 0;

  constructor(volumes: readonly FollowedVolume[], specs: readonly GuestSpec[], crawling: Crawling, log: Log) {
    this.#volumes = volumes;
    this.#specs = new Map(specs.map((spec) => [spec.name, spec]));
    this.#crawling = crawling;
    this.#log = log;
  }

  begin(guest: string, disk: number, unknownLife: number): void {
    const spec = this.#specs.get(guest);
    for (const volume of this.#of(guest, disk)) {
      if (spec === undefined || this.#streams.has(volume.key)) continue;
      this.#streams.set(
        volume.key,
        new VolumeStream({
          volume,
          crawl: () => this.#crawling.crawlBlocks(spec, volume.volume, spec.isRemote ? guest : ""),
          ready: () => this.#tellMetadataOf(guest, disk),
          unknownLife,
          log: this.#log,
        }),
      );
    }
  }

  end(guest: string, disk: number): void {
    for (const { key } of this.#of(guest, disk)) {
      this.#streams.get(key)?.stop();
      this.#streams.delete(key);
    }
  }

  stop(): void {
    for (const stream of this.#streams.values()) stream.stop();
    void this.#crawling.stop();
  }

  /** Whether there is a stream of a volume's writes. */
  has(key: string): boolean {
    return this.#streams.has(key);
  }

  /** Whether it is told of a volume's files when bytes of theirs are written. */
  tells(key: string): boolean {
    return this.#streams.get(key)?.isReady ?? false;
  }

  statusOf(key: string): CaptureStatus {
    const stream = this.#streams.get(key);
    return stream === undefined ? { capture: "watch" } : { capture: "stream", writes: stream.status };
  }

  tellMetadata(take: MetadataTaker): void {
    this.#tellMetadata = take;
  }

  /** Those records that are about a volume; none, if there is no stream of its writes. */
  touching({ key, offset, length }: FollowedVolume, records: readonly WriteRecord[]): readonly WriteRecord[] {
    if (!this.#streams.has(key)) return [];
    return records.filter(
      (record) => record.offset < offset + length && record.offset + record.length > offset,
    );
  }

  /** `now`: ms. */
  take(
    { key, offset, length, measures }: FollowedVolume,
    records: readonly WriteRecord[],
    now: number,
  ): void {
    const stream = this.#streams.get(key);
    let written = 0;
    for (const { kind, offset: first, length: bytes, sequence, time } of records) {
      const start = Math.max(0, first - offset);
      const end = Math.min(length, first + bytes - offset);
      stream?.inference.take(kind, start, end - start, sequence, time, now);
      if (kind !== "discard" && kind !== "flush") written += Math.max(0, end - start);
    }
    measures.wrote(written);
  }

  takeLost({ key }: FollowedVolume): boolean {
    return this.#streams.get(key)?.inference.takeLost() ?? false;
  }

  /** What was written to a volume's files, as far as that is known, since the last call. */
  finish({ key }: FollowedVolume): Written[] {
    return this.#streams.get(key)?.inference.finish(performance.now()) ?? [];
  }

  /** Commits of a volume have been taken. */
  follow({ key }: FollowedVolume, steps: readonly Step[]): void {
    const stream = this.#streams.get(key);
    for (const step of steps) stream?.follow(step);
  }

  /** A volume was opened afresh. */
  reopened({ key }: FollowedVolume): void {
    this.#streams.get(key)?.reopened();
  }

  /** To be called now and then. */
  lookAtClock(): void {
    const now = performance.now();
    for (const stream of this.#streams.values()) stream.lookAtClock(now);
    if (now < this.#metadataAt) return;
    this.#metadataAt = now + METADATA_EVERY;
    const disks = new Map(
      this.#volumes.flatMap(({ guest, disk }) =>
        disk === undefined ? [] : [[`${disk} ${guest}`, { guest, disk }] as const],
      ),
    );
    for (const { guest, disk } of disks.values()) this.#tellMetadataOf(guest, disk);
  }

  #tellMetadataOf(guest: string, disk: number): void {
    if (this.#tellMetadata === undefined) return;
    const volumes = this.#of(guest, disk).sort((a, b) => a.offset - b.offset);
    const known = volumes.flatMap(({ key, offset }) => {
      const ranges = this.#streams.get(key)?.metadata();
      return ranges === undefined ? [] : [{ ranges, offset }];
    });
    if (known.length === 0) return;
    const all = new Float64Array(known.reduce((sum, { ranges }) => sum + ranges.length, 0));
    let at = 0;
    for (const { ranges, offset } of known) for (const byte of ranges) all[at++] = offset + byte;
    this.#tellMetadata(guest, disk, all);
  }

  #of(guest: string, disk: number): FollowedVolume[] {
    return this.#volumes.filter((volume) => volume.guest === guest && volume.disk === disk);
  }
}
