/** Guests that libvirt has: they come, change and go by themselves. libvirt and QEMU are real ones of the tests' own. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { LibvirtSource } from "../src/daemon/discovery/libvirt.js";
import type { Domain } from "../src/daemon/discovery/libvirt-domain.js";
import { monitorsOf } from "../src/daemon/discovery/libvirt-monitors.js";
import { namesOf } from "../src/daemon/discovery/libvirt-names.js";
import { libvirtSettings } from "../src/daemon/discovery/libvirt-settings.js";
import type { FoundGuest } from "../src/daemon/discovery/source.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";
import { fileDisk, Libvirt } from "./support/libvirt.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** An interval within which nothing is looked at: what is seen, events have told. */
const NEVER = 3_600_000;
/** How long what is expected may take on a machine that has other things to do, ms. */
const LIMIT = 90_000;

const folder = workFolder("libvirt");
const libvirt = new Libvirt(folder);
const closing: Array<() => Promise<void>> = [];

beforeAll(() => libvirt.start());
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await libvirt.signal("SIGCONT");
  for (const name of await names("--state-running")) await libvirt.virsh("destroy", name);
  for (const name of await names("--all")) await libvirt.virsh("undefine", name, "--snapshots-metadata");
});
afterAll(cleanUp);

async function names(state: string): Promise<string[]> {
  const text = await libvirt.virsh("list", state, "--name");
  return text.split("\n").filter((line) => line !== "");
}

async function uuidOf(name: string): Promise<string> {
  return (await libvirt.virsh("domuuid", name)).trim();
}

interface Looking {
  /** What was found last. */
  guests(): readonly FoundGuest[] | undefined;
  readonly log: string[];
  /** Waits until all guests are as given. */
  found(guests: readonly object[]): Promise<void>;
  /** The only guest there is, when it is as the check says. */
  one(holds: (guest: FoundGuest) => boolean): Promise<FoundGuest>;
}

function look(settings: object = {}, options: object = {}): Looking {
  const source = new LibvirtSource(libvirtSettings.parse({ uri: libvirt.uri, ...settings }), {
    interval: NEVER,
    ...options,
  });
  let guests: readonly FoundGuest[] | undefined;
  const log: string[] = [];
  const until = async (holds: () => boolean) => {
    for (const begun = performance.now(); !holds(); await sleep(20))
      if (performance.now() - begun > LIMIT)
        throw new Error(`never found; last: ${JSON.stringify(guests)}\n${log.join("\n")}`);
  };
  source.start(
    (found) => {
      guests = found;
    },
    (line) => log.push(line),
  );
  closing.push(() => source.stop());
  return {
    guests: () => guests,
    log,
    found: async (expected) => {
      await until(() => JSON.stringify(guests) === JSON.stringify(expected)).catch((error) => {
        expect(guests, error.message).toEqual(expected);
        throw error;
      });
    },
    one: async (holds) => {
      await until(() => guests?.length === 1 && holds(guests[0] as FoundGuest));
      return guests?.[0] as FoundGuest;
    },
  };
}

test("a domain is found when it is defined, started, stopped, renamed, changed and undefined", async () => {
  const raw = await libvirt.image("a.img", "raw");
  const other = await libvirt.image("b.qcow2", "qcow2");
  const looking = look();
  await looking.found([]);
  const stopped = [`raw:${raw}`, `qcow2:${other}`];
  await libvirt.define("web", { disks: [fileDisk("vdb", "qcow2", other), fileDisk("vda", "raw", raw)] });
  await looking.found([{ name: "web", images: stopped }]);
  await libvirt.virsh("start", "web");
  const running = await looking.one(({ reason }) => reason !== undefined);
  expect(running).toMatchObject({ name: "web", images: [`raw:${raw}`] });
  expect(running.reason).toMatch(
    /^vdb: .*b\.qcow2 is a qcow2 disk .* give it a second monitor \(virsh edit web/,
  );
  await libvirt.virsh("destroy", "web");
  await looking.found([{ name: "web", images: stopped }]);
  await libvirt.virsh("domrename", "web", "shop front");
  await looking.found([{ name: "shop front", images: stopped }]);
  await libvirt.define("shop front", {
    disks: [fileDisk("vda", "raw", raw)],
    uuid: await uuidOf("shop front"),
  });
  await looking.found([{ name: "shop front", images: [`raw:${raw}`] }]);
  await libvirt.virsh("undefine", "shop front");
  await looking.found([]);
  expect(looking.log).toEqual([]);
});

test("disks that are plugged in, snapshots and what is made of them are followed", async () => {
  const raw = await libvirt.image("c.img", "raw");
  const more = await libvirt.image("d.img", "raw");
  await libvirt.define("web", { disks: [fileDisk("vda", "raw", raw)] });
  await libvirt.virsh("start", "web");
  const looking = look({}, { interval: 500 });
  await looking.found([{ name: "web", images: [`raw:${raw}`] }]);
  await libvirt.virsh("attach-disk", "web", more, "vdb", "--live", "--subdriver", "raw");
  await looking.found([{ name: "web", images: [`raw:${raw}`, `raw:${more}`] }]);
  const overlay = join(folder, "c.overlay");
  const only = ["--diskspec", `vda,file=${overlay}`, "--diskspec", "vdb,snapshot=no"];
  await libvirt.virsh("snapshot-create-as", "web", "before", "--disk-only", "--no-metadata", ...only);
  const { images, reason } = await looking.one((guest) => guest.reason !== undefined);
  // The base is not what the guest has any more, and vdb is not to be taken for vda.
  expect(images).toEqual([]);
  expect(reason).toContain(`vda: ${overlay} is a qcow2 disk`);
  await libvirt.virsh("blockcommit", "web", "vda", "--active", "--pivot");
  await looking.found([{ name: "web", images: [`raw:${raw}`, `raw:${more}`] }]);
});

test("a running domain's qcow2 is attached to by the domain's second monitor, and shown", async () => {
  const tree = join(folder, "tree");
  mkdirSync(tree);
  writeFileSync(join(tree, "hello"), "from within\n");
  const plain = join(folder, "plain.img");
  await run("truncate", ["-s", "8M", plain]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", tree, plain]);
  const disk = await libvirt.image("e.qcow2", "qcow2", plain);
  const data = await libvirt.image("e.img", "raw");
  const monitor = join(folder, "web.monitor");
  await libvirt.define("web", {
    disks: [fileDisk("vda", "qcow2", disk), fileDisk("vdb", "raw", data)],
    args: ["-qmp", `unix:${monitor},server=on,wait=off`],
  });
  await libvirt.virsh("start", "web");
  await look({ attach: "never" }).one(({ reason }) => /discover\.libvirt\.attach/.test(reason ?? ""));
  const looking = look();
  const guest = await looking.one(() => true);
  expect(guest).toEqual({ name: "web", images: [], qmp: monitor, disks: ["virtio-disk0", "virtio-disk1"] });
  const served = await serve(join(folder, "cloud"), {});
  closing.push(async () => void (await served.stop()));
  // The way that the daemon goes when it is told of such a guest.
  const state = ["--state", `${served.mountPoint}-state`];
  const disks = (guest.disks ?? []).flatMap((name) => ["--disk", name]);
  const attach = [main, "attach", "--qmp", guest.qmp as string, ...state, ...disks, "web"];
  await run(process.execPath, attach);
  expect(readFileSync(join(served.guest("web"), "hello"), "utf8")).toBe("from within\n");
  // libvirt goes on with its guest as if nobody else were there.
  await libvirt.virsh("suspend", "web");
  await libvirt.virsh("resume", "web");
  await libvirt.virsh("destroy", "web");
  await looking.found([{ name: "web", images: [`qcow2:${disk}`, `raw:${data}`] }]);
});

test("with `attach: always` a domain with raw disks is attached to, too, if it has a second monitor", async () => {
  const [one, two] = [await libvirt.image("f.img", "raw"), await libvirt.image("g.img", "raw")];
  const args = ["-qmp", `unix:${join(folder, "one.monitor")},server=on,wait=off`];
  await libvirt.define("one", { disks: [fileDisk("vda", "raw", one)], args });
  await libvirt.define("two", { disks: [fileDisk("vda", "raw", two)] });
  await libvirt.virsh("start", "one");
  await libvirt.virsh("start", "two");
  await look().found([
    { name: "one", images: [`raw:${one}`] },
    { name: "two", images: [`raw:${two}`] },
  ]);
  const attached = { name: "one", images: [], qmp: join(folder, "one.monitor"), disks: ["virtio-disk0"] };
  await look({ attach: "always" }).found([attached, { name: "two", images: [`raw:${two}`] }]);
  await look({ attach: "always", capture: "watch" }).found([
    { ...attached, capture: "watch" },
    { name: "two", images: [`raw:${two}`] },
  ]);
});

test("a libvirt that is not there, hangs or is started again: guests stay, the log says so once, and what changed is found", async () => {
  const raw = await libvirt.image("h.img", "raw");
  const other = await libvirt.image("i.img", "raw");
  const none = look({ uri: `${libvirt.uri}.none` }, { interval: 100 });
  await libvirt.define("web", { disks: [fileDisk("vda", "raw", raw)] });
  await libvirt.virsh("start", "web");
  const looking = look({}, { interval: 300, deadline: 1500 });
  const before = [{ name: "web", images: [`raw:${raw}`] }];
  await looking.found(before);
  const said = async (text: RegExp, times: number) => {
    const count = () => looking.log.filter((line) => text.test(line)).length;
    for (const begun = performance.now(); count() < times; await sleep(20))
      if (performance.now() - begun > LIMIT) throw new Error(`not said: ${text}\n${looking.log.join("\n")}`);
    expect(count()).toBe(times);
  };
  await libvirt.signal("SIGSTOP");
  await said(/has not answered for 1\.5 s/, 1);
  await sleep(2500);
  await libvirt.signal("SIGCONT");
  await said(/answers again/, 1);
  await said(/has not answered/, 1);
  await looking.found(before);
  await libvirt.signal("SIGKILL");
  await said(/failed to connect/, 1);
  await sleep(1000);
  expect(looking.guests()).toEqual(before);
  await libvirt.start();
  await said(/answers again/, 2);
  await libvirt.define("db", { disks: [fileDisk("vda", "raw", other)] });
  await looking.found([{ name: "db", images: [`raw:${other}`] }, ...before]);
  await said(/failed to connect/, 1);
  expect(none.guests()).toBeUndefined();
  expect(none.log).toHaveLength(1);
});

test("every kind of disk is shown, or it is said why not", async () => {
  mkdirSync(join(folder, "pool"));
  chmodSync(join(folder, "pool"), 0o777);
  await libvirt.virsh("pool-create-as", "local", "dir", "--target", join(folder, "pool"));
  await libvirt.virsh("vol-create-as", "local", "root.qcow2", "8M", "--format", "qcow2");
  const disk = (type: string, source: string, { format = "raw", more = "" } = {}) =>
    `<disk type='${type}' device='disk'><driver name='qemu' type='${format}'/>${source}<target dev='vda' bus='virtio'/>${more}</disk>`;
  const kinds: Record<string, [string, object]> = {
    "block device": [disk("block", "<source dev='/dev/vg/db'/>"), { images: ["raw:/dev/vg/db"] }],
    "cd and floppy": [
      "<disk type='file' device='cdrom'><source file='/a.iso'/><target dev='sda' bus='sata'/></disk>" +
        "<disk type='file' device='floppy'><source file='/b.img'/><target dev='fda' bus='fdc'/></disk>",
      { images: [], reason: "the domain has no disk" },
    ],
    "no format": [
      "<disk type='file'><source file='/srv/x.qcow2'/><target dev='vda' bus='virtio'/></disk>",
      { images: ["raw:/srv/x.qcow2"] },
    ],
    "name with & and ü": [
      disk("file", "<source file='/srv/a&amp;b&apos; ü.vmdk'/>", { format: "vmdk" }),
      {
        images: ["vmdk:/srv/a&b' ü.vmdk"],
      },
    ],
    "format unknown": [
      disk("file", "<source file='/srv/x.ploop'/>", { format: "ploop" }),
      { images: [], reason: "vda: slashcloud reads no ploop disks" },
    ],
    volume: [
      disk("volume", "<source pool='local' volume='root.qcow2'/>", { format: "qcow2" }),
      { images: [`qcow2:${join(folder, "pool/root.qcow2")}`] },
    ],
    "volume that is missing": [
      disk("volume", "<source pool='local' volume='none'/>"),
      { images: [], reason: expect.stringMatching(/^vda: volume none of the pool local is not there/) },
    ],
    nbd: [
      disk("network", "<source protocol='nbd' name='a b/c'><host name='::1' port='10810'/></source>"),
      { images: ["nbd://[::1]:10810/a%20b/c"] },
    ],
    "nbd on a socket": [
      disk(
        "network",
        "<source protocol='nbd' name='x'><host transport='unix' socket='/run/n b.sock'/></source>",
      ),
      { images: ["nbd+unix:///x?socket=/run/n%20b.sock"] },
    ],
    "nbd with tls": [
      disk("network", "<source protocol='nbd' name='x' tls='yes'><host name='h' port='10809'/></source>"),
      { images: [], reason: "vda: it is NBD with TLS" },
    ],
    ceph: [
      disk("network", "<source protocol='rbd' name='pool/image'><host name='h' port='6789'/></source>"),
      { images: [], reason: expect.stringMatching(/^vda: slashcloud speaks no rbd/) },
    ],
    encrypted: [
      disk(
        "file",
        "<source file='/srv/l.img'><encryption format='luks'><secret type='passphrase' uuid='7e1ee1fc-1a3c-4c0c-9f0d-1f1a1d1c1b1a'/></encryption></source>",
      ),
      { images: [], reason: "vda: it is encrypted, and QEMU has the key" },
    ],
    "order of targets": [
      [
        ["sda", "sata"],
        ["vdaa", "virtio"],
        ["vdb", "virtio"],
        ["vda", "virtio"],
      ]
        .map(
          ([target, bus]) =>
            `<disk type='file'><source file='/srv/${target}'/><target dev='${target}' bus='${bus}'/></disk>`,
        )
        .join(""),
      { images: ["raw:/srv/vda", "raw:/srv/vdb", "raw:/srv/vdaa", "raw:/srv/sda"] },
    ],
  };
  for (const [name, [xml]] of Object.entries(kinds)) await libvirt.define(name, { disks: [xml] });
  const looking = look();
  const expected = Object.entries(kinds).map(([name, [, found]]) => ({ name, ...found }));
  for (const begun = performance.now(); looking.guests() === undefined && performance.now() - begun < LIMIT; )
    await sleep(20);
  expect(looking.guests()).toEqual(expected.sort((one, other) => (one.name < other.name ? -1 : 1)));
});

test("monitors are found in all forms of QEMU's arguments, and only those that can be connected to", () => {
  expect(
    monitorsOf(["-qmp", "unix:/a,,b.sock,server=on,wait=off", "-qmp-pretty", "unix:/c,server,nowait"]),
  ).toEqual(["/a,b.sock", "/c"]);
  const chardev = ["-chardev", "socket,id=m,path=/run/m.sock,server=on,wait=off"];
  expect(monitorsOf([...chardev, "-mon", "chardev=m,mode=control"])).toEqual(["/run/m.sock"]);
  expect(monitorsOf([...chardev, "-mon", "m,mode=control,pretty=on"])).toEqual(["/run/m.sock"]);
  expect(monitorsOf([...chardev, "-mon", "chardev=m"])).toEqual([]);
  expect(monitorsOf(["-qmp", "unix:/client.sock"])).toEqual([]);
  expect(monitorsOf(["-qmp", "tcp:localhost:4444,server=on"])).toEqual([]);
  expect(monitorsOf(["-monitor", "unix:/hmp.sock,server=on", "-qmp"])).toEqual([]);
});

test("a name that no directory can have is made fit, and stays the domain's own", () => {
  const domain = (name: string, uuid: string): Domain => ({
    uuid,
    name,
    id: undefined,
    disks: [],
    monitors: [],
  });
  const uuids = ["1111aaaa-0", "2222bbbb-0", "3333cccc-0", "4444dddd-0", "5555eeee-0"];
  const given = ["a/b\n", "a_b_", "..", ".events", "é".repeat(200)];
  const fit = namesOf(given.map((name, i) => domain(name, uuids[i] as string)));
  expect(uuids.map((uuid) => fit.get(uuid))).toEqual([
    "a_b_-1111aaaa",
    "a_b_",
    "_.",
    "_events",
    "é".repeat(127),
  ]);
});
