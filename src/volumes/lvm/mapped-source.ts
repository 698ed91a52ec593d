import type { Source } from "../../images/image.js";

/** Where a segment's bytes, or a stripe's, lie. */
export interface MappedArea {
  readonly source: Source;
  /** The first one's place in the source. */
  readonly offset: number;
}

/** A run of bytes of a mapped source. */
export interface MappedSegment {
  readonly start: number;
  readonly length: number;
  /** None: all of it is zeros. Several: the bytes go round, `stripe` at a time. */
  readonly areas: readonly MappedArea[];
  readonly stripe: number;
}

/** Bytes that are put together of parts of other sources. */
export class MappedSource implements Source {
  readonly size: number;
  readonly #segments: readonly MappedSegment[];

  /** The segments follow each other, from 0 on. */
  constructor(segments: readonly MappedSegment[]) {
    this.#segments = segments;
    const last = segments[segments.length - 1];
    this.size = last === undefined ? 0 : last.start + last.length;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    const wanted = Math.min(length, this.size - position);
    let done = 0;
    for (let n = this.#find(position); done < wanted; n++) {
      const segment = this.#segments[n];
      if (segment === undefined) break;
      const within = position + done - segment.start;
      const here = Math.min(wanted - done, segment.length - within);
      const count = readSegment(segment, target, targetOffset + done, here, within);
      done += count;
      if (count < here) break;
    }
    return done;
  }

  /** The number of the segment that has a position. */
  #find(position: number): number {
    let low = 0;
    let high = this.#segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#segments[middle]!.start <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** All of it lies within the segment; `position`: from its beginning on. */
function readSegment(
  { areas, stripe }: MappedSegment,
  target: Buffer,
  targetOffset: number,
  length: number,
  position: number,
): number {
  const [first] = areas;
  if (first === undefined) {
    target.fill(0, targetOffset, targetOffset + length);
    return length;
  }
  if (areas.length === 1) return first.source.read(target, targetOffset, length, first.offset + position);
  for (let done = 0; done < length; ) {
    const at = position + done;
    const number = Math.floor(at / stripe);
    const within = at - number * stripe;
    const round = Math.floor(number / areas.length);
    const { source, offset } = areas[number - round * areas.length]!;
    const here = Math.min(length - done, stripe - within);
    const count = source.read(target, targetOffset + done, here, offset + round * stripe + within);
    done += count;
    if (count < here) return done;
  }
  return length;
}
