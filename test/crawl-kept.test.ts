/**
 * The map of names of a volume that has no journal is made of what its follower has agreed on: a crawl of the disk would see
 * files that come and go before anybody looks, which no event ever tells of.
 */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { NO_POLICY } from "../src/cloud/policy/policy.js";
import type { EventHub } from "../src/daemon/event-hub.js";
import type { Following } from "../src/daemon/following.js";
import type { EventInsight, Insight } from "../src/daemon/insight/insight.js";
import type { WriteRecord } from "../src/queue/write-record.js";
import { cleanUp, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";

const folder = workFolder("crawl-kept");
afterAll(cleanUp);

/** The built ones: a crawl's thread needs a file that Node can run. */
const built = async <Module>(path: string) =>
  (await import(new URL(`../dist/daemon/${path}`, import.meta.url).href)) as Module;
const { EventHub: Hub } = await built<{ EventHub: typeof EventHub }>("event-hub.js");
const { Following: Followed } = await built<{ Following: typeof Following }>("following.js");
const { Insight: Known } = await built<{ Insight: typeof Insight }>("insight/insight.js");

/** ms for whatever is waited for. */
const LIMIT = 20_000;

const debugfs = (image: string, request: string) => run("debugfs", ["-w", "-R", request, image]);

async function until(isSo: () => boolean, meanwhile: () => void = () => {}): Promise<void> {
  const end = performance.now() + LIMIT;
  while (!isSo()) {
    if (performance.now() > end) throw new Error("it does not come");
    meanwhile();
    await sleep(10);
  }
}

/** A guest that has an NTFS volume mounted while it does something. */
async function inNtfs(image: string, does: (inside: string) => void): Promise<void> {
  const inside = `${image}-inside`;
  mkdirSync(inside, { recursive: true });
  await run("ntfs-3g", [image, inside]);
  const unmount = onEnd(() => unmountNow(inside));
  does(inside);
  unmount();
}

/** Learns whether there is a map of names. */
class Knowing extends Known {
  told: EventInsight | undefined;

  override tell(told: EventInsight): void {
    this.told = told;
    super.tell(told);
  }
}

/** A volume whose events are told in this process, which is looked at when `look` is called and at no other time. */
function told(name: string, image: string) {
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
    /** As `created /a` each. */
    events: () => {
      const replay = hub.logs.replay(name);
      const events = [...replay.lines()].map(({ json }) => JSON.parse(json) as Record<string, string>);
      replay.close();
      return events.map(({ event, path }) => `${event} ${path?.replace("/.volumes/sda", "")}`);
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

describe.each([
  {
    format: "vfat",
    size: "4M",
    make: (image: string) => run("mkfs.vfat", ["-F", "12", image]),
    add: (image: string, file: string) => run("mcopy", ["-i", image, file, "::"]),
    remove: (image: string, name: string) => run("mdel", ["-i", image, `::${name}`]),
  },
  {
    format: "ext2",
    size: "4M",
    make: (image: string) => run("mke2fs", ["-q", "-F", "-t", "ext2", image]),
    add: (image: string, file: string) => debugfs(image, `write ${file} ${basename(file)}`),
    remove: (image: string, name: string) => debugfs(image, `rm ${name}`),
  },
  {
    format: "ntfs",
    size: "4M",
    make: (image: string) => run("mkntfs", ["-q", "-F", "-f", image]),
    add: (image: string, file: string) =>
      inNtfs(image, (inside) => copyFileSync(file, join(inside, basename(file)))),
    remove: (image: string, name: string) => inNtfs(image, (inside) => rmSync(join(inside, name))),
  },
])("$format", ({ format, size, make, add, remove }) => {
  test("a file that goes before anybody looks is none of the map's, though it was there when that was made", async () => {
    const image = join(folder, `${format}.img`);
    await run("truncate", ["-s", size, image]);
    await make(image);
    const [first, second, third] = ["first", "second", "third"].map((name) => {
      const path = join(folder, name);
      writeFileSync(path, name);
      return path;
    }) as [string, string, string];
    await add(image, first);
    const { events, hasMap, followed, look, stop } = told(format, image);
    await until(() => followed()[0] !== undefined, look);
    await add(image, second);
    await until(hasMap);
    await remove(image, "second");
    // In the place of the second one, whose number it has.
    await add(image, third);
    await until(() => events().length > 0, look);
    await remove(image, "third");
    await until(() => events().some((event) => /^(deleted|unlinked)/.test(event)), look);
    expect(events()).toEqual(["created /third", "deleted /third"]);
    stop();
  }, 60_000);
});
