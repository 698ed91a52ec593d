/** Events as they are told, counted by guest, volume and kind. */
import type { EventKind, ScopedEvent } from "../../events/event.js";
import { type Amount, NOTHING, Rate, sumOf } from "./rate.js";

/** One volume's. */
class Counted {
  readonly rate = new Rate();
  readonly kinds = new Map<EventKind, number>();
}

/** For metrics. */
export interface KindCount {
  readonly guest: string;
  readonly volume: string;
  readonly kind: EventKind;
  readonly count: number;
}

export class EventCounts {
  readonly #guests = new Map<string, Map<string, Counted>>();

  add(events: readonly ScopedEvent[]): void {
    const now = performance.now();
    for (const { event } of events) {
      const counted = this.#of(event.guest, event.volume);
      counted.rate.add(1, now);
      counted.kinds.set(event.event, (counted.kinds.get(event.event) ?? 0) + 1);
    }
  }

  /** Of a volume, or of all the guest's. */
  of(guest: string, volume?: string): Amount {
    const now = performance.now();
    const volumes = this.#guests.get(guest);
    if (volume !== undefined) return volumes?.get(volume)?.rate.amount(now) ?? NOTHING;
    return sumOf([...(volumes?.values() ?? [])].map(({ rate }) => rate.amount(now)));
  }

  *kinds(): Generator<KindCount> {
    for (const [guest, volumes] of this.#guests) {
      for (const [volume, { kinds }] of volumes) {
        for (const [kind, count] of kinds) yield { guest, volume, kind, count };
      }
    }
  }

  #of(guest: string, volume: string): Counted {
    let volumes = this.#guests.get(guest);
    if (volumes === undefined) {
      volumes = new Map();
      this.#guests.set(guest, volumes);
    }
    let counted = volumes.get(volume);
    if (counted === undefined) {
      counted = new Counted();
      volumes.set(volume, counted);
    }
    return counted;
  }
}
