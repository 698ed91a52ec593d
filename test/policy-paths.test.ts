/** What rules make of paths. */
import { describe, expect, test } from "vitest";
import { policedEvents } from "../src/cloud/policy/events.js";
import { Grant } from "../src/cloud/policy/grant.js";
import { GuestPaths } from "../src/cloud/policy/guest-paths.js";
import type { PathState } from "../src/cloud/policy/path-state.js";
import { type PolicyRule, policySettings } from "../src/cloud/policy/settings.js";
import { volumeRoots } from "../src/cloud/policy/volume-roots.js";

const GRANTS = { [Grant.SHOW]: "show", [Grant.METADATA]: "metadata", [Grant.HIDE]: "hide" };
const MOUNTS = new Map([
  ["sda1", ["/"]],
  ["sdb1", ["/srv/data"]],
  ["sdc1", []],
]);

function rules(...all: readonly object[]): readonly PolicyRule[] {
  return policySettings.parse(all);
}

/** What is granted of a path in a volume. */
function grant(all: readonly PolicyRule[], path: string, volume = "sda1", guest = "web"): string {
  let state: PathState | undefined = volumeRoots(all, guest, MOUNTS).get(volume);
  for (const name of path.split("/")) if (name !== "") state = state?.next(name);
  return GRANTS[state?.grant ?? Grant.SHOW];
}

describe("the first rule that matches a path or a directory above it", () => {
  test.each([
    ["/etc/shadow*", "/etc/shadow", "hide"],
    ["/etc/shadow*", "/etc/shadow-", "hide"],
    ["/etc/shadow*", "/etc/passwd", "show"],
    ["/etc/shadow*", "/etc", "show"],
    ["/etc/shadow*", "/srv/etc/shadow", "show"],
    ["/home", "/home/u/.ssh/id", "hide"],
    ["/home/*/.ssh", "/home/u/.ssh/id", "hide"],
    ["/home/*/.ssh", "/home/u/v/.ssh", "show"],
    ["/home/*", "/home/.hidden", "hide"],
    ["/home/**", "/home", "show"],
    ["/home/**", "/home/u", "hide"],
    ["/a/**/b", "/a/b", "hide"],
    ["/a/**/b", "/a/x/y/b/c", "hide"],
    ["/a/**/b", "/a/x/y", "show"],
    ["/**/b", "/b", "hide"],
    ["*.pem", "/x/y/z.pem", "hide"],
    ["*.pem", "/x/y.pem/z", "hide"],
    ["id_[a-r]sa", "/root/.ssh/id_rsa", "hide"],
    ["id_[^a-r]sa", "/root/.ssh/id_rsa", "show"],
    ["/größe?", "/größen", "hide"],
    ["/a\\*", "/a*", "hide"],
    ["/a\\*", "/ab", "show"],
    ["/", "/x", "hide"],
    ["/", "/", "show"],
    ["/**", "/", "show"],
    ["/**", "/x/y", "hide"],
  ])("%s and %s: %s", (pattern, path, wanted) => {
    expect(grant(rules({ path: pattern, access: "hide" }), path)).toBe(wanted);
  });

  test("holds, but that nothing is shown in what is hidden", () => {
    const all = rules(
      { path: "/srv/public", access: "show" },
      { path: "/srv", access: "metadata" },
      { path: "/srv/x/y", access: "hide" },
      { path: "/home/u/public", access: "show" },
      { path: "/home/u", access: "hide" },
    );
    expect(grant(all, "/srv")).toBe("metadata");
    expect(grant(all, "/srv/a/b")).toBe("metadata");
    expect(grant(all, "/srv/public/a")).toBe("show");
    // The rule for /srv comes before.
    expect(grant(all, "/srv/x/y")).toBe("metadata");
    expect(grant(all, "/home/u/public")).toBe("hide");
  });
});

describe("rules for some guests and volumes", () => {
  test("hold for those alone", () => {
    const all = rules(
      { guest: "db*", path: "/a", access: "hide" },
      { guest: "web", volume: "sdb*", path: "/**", access: "metadata" },
    );
    expect(grant(all, "/a", "sda1", "web")).toBe("show");
    expect(grant(all, "/a", "sda1", "db2")).toBe("hide");
    expect(grant(all, "/a", "sdb1", "web")).toBe("metadata");
    // Nothing has to be looked at where nothing is hidden.
    expect([...volumeRoots(all, "web", MOUNTS).keys()]).toEqual(["sdb1"]);
    expect(volumeRoots(rules({ path: "/etc/shadow", access: "hide" }), "web", MOUNTS).has("sdb1")).toBe(
      false,
    );
  });

  test("are for paths as the guest mounts its volumes", () => {
    const all = rules({ path: "/srv/data/x", access: "hide" });
    expect(grant(all, "/x", "sdb1")).toBe("hide");
    expect(grant(all, "/y", "sdb1")).toBe("show");
    expect(grant(rules({ path: "/srv", access: "hide" }), "/", "sdb1")).toBe("hide");
    // A directory that a volume is mounted below is on another one.
    expect(grant(rules({ volume: "sda1", path: "/srv", access: "hide" }), "/y", "sdb1")).toBe("hide");
  });

  test("are for volumes that are mounted nowhere as if they were the guest's root, too", () => {
    expect(grant(rules({ path: "/etc/shadow", access: "hide" }), "/etc/shadow", "sdc1")).toBe("hide");
    expect(grant(rules({ path: "/.volumes/sdc1/x", access: "hide" }), "/x/y", "sdc1")).toBe("hide");
  });

  test("are for paths of events", () => {
    const paths = new GuestPaths(rules({ path: "/etc/shadow", access: "hide" }));
    expect(paths.grant("web", "sda1", "/etc/shadow")).toBe(Grant.HIDE);
    expect(paths.grant("web", "sdc1", "/.volumes/sdc1/etc/shadow")).toBe(Grant.HIDE);
    expect(paths.grant("web", "sda1", "/etc/passwd")).toBe(Grant.SHOW);
  });
});

test("states are few, however many names there are", () => {
  const root = volumeRoots(
    rules({ path: ["/a/*/b", "*.pem", "/x/**/y"], access: "hide" }),
    "web",
    MOUNTS,
  ).get("sda1") as PathState;
  const states = new Set<PathState>();
  for (let n = 0; n < 1000; n++) {
    const state = root.next("a").next(`${n}`);
    states
      .add(state)
      .add(state.next(`${n}`))
      .add(state.next(`${n}`).next(`${n}`));
    states.add(root.next(`${n}`)).add(root.next("x").next(`${n}`).next(`${n}`));
  }
  expect(states.size).toBeLessThan(10);
});

describe("events", () => {
  const root = volumeRoots(
    rules({ path: "/hidden", access: "hide" }, { path: "/meta", access: "metadata" }),
    "web",
    MOUNTS,
  ).get("sda1") as PathState;
  /** Directories 10 (/hidden), 11 (/shown) and 12 (/meta), and the names of one file. */
  const directories = new Map([
    [10, "/hidden"],
    [11, "/shown"],
    [12, "/meta"],
  ]);
  const event = (kind: string, directory: number, from?: number) => ({
    kind,
    ino: 99,
    old: { nlink: 1 },
    now: { nlink: 1 },
    directory,
    name: Buffer.from("f"),
    path: Buffer.from(`${directories.get(directory)}/f`),
    fromDirectory: from ?? 0,
    from: from === undefined ? undefined : Buffer.from(`${directories.get(from)}/e`),
    attributes: "values",
    target: "text",
    scopes: [directory, from ?? 0, 2],
  });
  const told = (one: ReturnType<typeof event>, ...names: readonly (readonly [number, string])[]) =>
    policedEvents([one], root, {
      names: () => names.map(([directory, name]) => ({ directory, name: Buffer.from(name) })),
      pathOf: (directory, name) => Buffer.from(`${directories.get(directory)}/${name.toString()}`),
      ancestors: (directory) => [directory, 2],
    }).map(({ kind, path, from, scopes }) => [kind, path?.toString(), from?.toString(), scopes]);

  test("tell of moves out of hiding and into it as of something new, or gone", () => {
    expect(told(event("renamed", 11, 10), [11, "f"])).toEqual([["created", "/shown/f", undefined, [11, 2]]]);
    expect(told(event("renamed", 10, 11), [10, "f"])).toEqual([["deleted", "/shown/e", undefined, [11, 2]]]);
    expect(told(event("renamed", 10, 10), [10, "f"])).toEqual([]);
    expect(told(event("renamed", 11, 11), [11, "f"])).toEqual([
      ["renamed", "/shown/f", "/shown/e", [11, 11, 2]],
    ]);
  });

  test("tell of no file that has a hidden name", () => {
    expect(told(event("content", 11), [11, "f"], [10, "g"])).toEqual([]);
    expect(told(event("renamed", 11, 11), [11, "f"], [10, "g"])).toEqual([]);
    expect(told(event("linked", 10), [10, "f"], [11, "g"])).toEqual([
      ["deleted", "/shown/g", undefined, [11, 2]],
    ]);
    expect(told(event("unlinked", 10), [11, "g"])).toEqual([["created", "/shown/g", undefined, [11, 2]]]);
    expect(told(event("unlinked", 10), [11, "g"], [10, "h"])).toEqual([]);
  });

  test("have no contents of files of which only attributes are shown", () => {
    const names = { names: () => [], pathOf: () => undefined, ancestors: () => [] };
    expect(policedEvents([event("symlink", 12)], root, names)).toMatchObject([
      { kind: "symlink", attributes: undefined, target: undefined },
    ]);
    expect(policedEvents([event("symlink", 11)], root, names)).toMatchObject([{ target: "text" }]);
  });
});
