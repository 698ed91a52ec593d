/** A volume whose events are told in this process, and which is looked at when a test says so and at no other time. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { NO_POLICY } from "../../src/cloud/policy/policy.js";
import type { EventHub } from "../../src/daemon/event-hub.js";
import type { Following } from "../../src/daemon/following.js";
import type { EventInsight, Insight } from "../../src/daemon/insight/insight.js";
import type { WriteRecord } from "../../src/queue/write-record.js";
import { onEnd } from "./images-mount.js";

/** The built ones: a crawl's thread needs a file that Node can run. */
const built = async <Module>(path: string) =>
  (await import(new URL(`../../dist/daemon/${path}`, import.meta.url).href)) as Module;
const { EventHub: Hub } = await built<{ EventHub: typeof EventHub }>("event-hub.js");
const { Following: Followed } = await built<{ Following: typeof Following }>("following.js");
const { Insight: Known } = await built<{ Insight: typeof Insight }>("insight/insight.js");

/** ms for whatever is waited for. */
const LIMIT = 20_000;

/** Waits; throws if it is in vain. */
export async function until(isSo: () => boolean, meanwhile: () => void = () => {}): Promise<void> {
  const end = performance.now() + LIMIT;
  while (!isSo()) {
    if (performance.now() > end) throw new Error("it does not come");
    meanwhile();
    await sleep(10);
  }
}

/** Learns whether there is a map of names. */
class Knowing extends Known {
  told: EventInsight | undefined;

  override tell(told: EventInsight): void {
    this.told = told;
    super.tell(told);
  }
}

export interface ToldEvent {
  readonly event: string;
  /** From the volume's root. */
  readonly path: string;
  readonly from: string | undefined;
  readonly inode: number;
}

/** `folder` takes the state. */
export function told(folder: string, name: string, image: string) {
  const guests = [{ name, images: [image] }];
  const nobody = () => Promise.reject(new Error("there is nobody"));
  const insight = new Knowing({ host: "h", guests: [name], counts: undefined, askSupervisor: nobody });
  const options = {
    state: join(folder, `${name}-state`),
    isStateNamed: true,
    logSize: undefined,
    areListed: false,
    redis: undefined,
    crawls: [],
  };
  const hub = new Hub("h", guests, options, () => {}, nobody, undefined, insight, NO_POLICY);
  const following = new Followed(
    guests,
    () => {},
    () => {},
  );
  following.tell(hub);
  following.streamBegins(name, 0, LIMIT);
  const record = { kind: "write", offset: 0, length: 512, data: undefined, fua: false, sequence: 1, time: 0 };
  return {
    events: (): ToldEvent[] => {
      const replay = hub.logs.replay(name);
      const text = [...replay.lines()].map(({ json }) => json).join(",");
      replay.close();
      return JSON.parse(`[${text.replaceAll('"/.volumes/sda/', '"/')}]`) as ToldEvent[];
    },
    hasMap: () => insight.told?.hasPaths(name, "sda") === true,
    followed: () => following.status().map(({ transaction }) => transaction),
    look: () => following.written(name, 0, [record as WriteRecord]),
    stop: onEnd(() => {
      following.close();
      void hub.stop();
    }),
  };
}
