/** An event as Redis has it: a BSON document, and the channels on which it is published. */
import { Long, serialize } from "bson";
import type { GuestEvent } from "../event.js";
import type { EventData } from "./changed-bytes.js";

/** Events that were passed over: `missed` of them, of which the last had the number `id`. */
export interface MissedEvents extends Pick<GuestEvent, "id" | "time" | "host" | "guest"> {
  readonly event: "gap";
  readonly reason: string;
  readonly missed: number;
}

/** An event, with the bytes of its file that it brings along. */
export type PublishedEvent = (GuestEvent | MissedEvents) & Partial<EventData>;

/**
 * `host:guest:path`, in bytes as the guest has them: of a rename the new path's and the former one's. What has no path, as
 * a gap, is on `host:guest:`.
 */
export function channelsOf(event: GuestEvent | MissedEvents): [Buffer, ...Buffer[]] {
  const { path, pathBytes, from, fromBytes, host, guest } = event as GuestEvent;
  const channel = (text: string, bytes: string | undefined): Buffer => {
    const prefix = Buffer.from(`${host}:${guest}:`);
    return Buffer.concat([prefix, bytes === undefined ? Buffer.from(text) : Buffer.from(bytes, "base64")]);
  };
  const former = from === undefined ? [] : [channel(from, fromBytes)];
  if (path === undefined && former.length > 0) return former as [Buffer];
  return [channel(path ?? "", pathBytes), ...former];
}

/**
 * The event's fields as in JSON. Numbers are 64-bit integers, `pathBytes`, `fromBytes` and `data` binary, and `at` is `time` as a
 * date, to the millisecond.
 */
export function documentOf(event: PublishedEvent): Uint8Array {
  try {
    return serialize(fieldsOf(event));
  } catch (error) {
    // Longer than BSON can hold.
    const {
      old: _,
      new: __,
      data: ___,
      dataOffset: ____,
      ...rest
    } = event as GuestEvent & Partial<EventData>;
    return serialize(
      fieldsOf({ ...rest, reason: `this event cannot be told whole: ${(error as Error).message}` }),
    );
  }
}

/** Maps, as a guest's names of extended attributes are keys: of an object, "_bsontype" has a meaning. */
function fieldsOf(event: PublishedEvent): Map<string, unknown> {
  const fields = new Map<string, unknown>();
  for (const [key, value] of Object.entries(event)) {
    if (key === "pathBytes" || key === "fromBytes") fields.set(key, Buffer.from(value as string, "base64"));
    else fields.set(key, key === "data" ? value : native(value));
    if (key === "time") fields.set("at", new Date(value as string));
  }
  return fields;
}

function native(value: unknown): unknown {
  if (typeof value === "number") return Long.fromNumber(value);
  if (Array.isArray(value)) return value.map(native);
  if (typeof value !== "object" || value === null) return value;
  // A key of BSON ends with its first zero byte.
  return new Map(Object.entries(value).map(([key, each]) => [key.replaceAll("\0", "\ufffd"), native(each)]));
}
