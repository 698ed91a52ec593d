import { describe, expect, test } from "vitest";
import type { GuestEvent } from "../src/events/event.js";
import { Glob } from "../src/events/glob.js";
import { EventPattern } from "../src/events/pattern.js";
import { Selection } from "../src/events/selection.js";

function event(more: Partial<GuestEvent> = {}): GuestEvent {
  return {
    id: 1,
    time: "2026-03-04T05:06:07.123456789Z",
    event: "content",
    host: "gs9671",
    guest: "test",
    volume: "sda1",
    transaction: 7,
    path: "/var/log/auth.log",
    ...more,
  };
}

describe("a glob", () => {
  test.each([
    ["*", "", true],
    ["*", "/a/b\n", true],
    ["", "", true],
    ["", "a", false],
    ["abc", "abc", true],
    ["abc", "abcd", false],
    ["/var/log/*", "/var/log/a/b/c", true],
    ["/var/log/*", "/var/log", false],
    ["*.log", "/var/log/auth.log", true],
    ["*.log", "/var/log/auth.log.1", false],
    ["a*b*c", "aXbXbXc", true],
    ["a*b*c", "aXbXb", false],
    ["**a**", "bab", true],
    ["?", "ä", true],
    ["?", "😀", true],
    ["?", "", false],
    ["?", "ab", false],
    ["[abc]x", "bx", true],
    ["[abc]x", "dx", false],
    ["[a-cx-z]", "y", true],
    ["[c-a]", "b", true],
    ["[a-c]", "-", false],
    ["[a-]", "-", true],
    ["[^a-c]", "d", true],
    ["[^a-c]", "b", false],
    ["[\\]]", "]", true],
    ["[]", "a", false],
    ["[^]", "a", true],
    ["\\*", "*", true],
    ["\\*", "a", false],
    ["a\\[b", "a[b", true],
    ["a.c", "abc", false],
    ["a]", "a]", true],
    ["$(x)+", "$(x)+", true],
  ])("%j against %j: %s", (pattern, text, expected) => {
    expect(new Glob(pattern).matches(text)).toBe(expected);
  });

  test("tells what it alone matches", () => {
    expect(new Glob("a\\*b").literal).toBe("a*b");
    expect(new Glob("a*b").literal).toBeUndefined();
    expect(new Glob("[a]").literal).toBeUndefined();
  });

  test("ends soon, whatever a guest names its files", () => {
    const stars = new Glob(`${"*a".repeat(200)}*b`);
    expect(stars.matches("a".repeat(4096))).toBe(false);
    expect(stars.matches(`${"a".repeat(4096)}b`)).toBe(true);
  });
});

describe("a pattern HOST:VM:PATH", () => {
  test("takes an event by its host, its guest and its path", () => {
    expect(new EventPattern("gs9671:test:/var/log/*").matches(event())).toBe(true);
    expect(new EventPattern("*:*:/var/log/auth.log").matches(event())).toBe(true);
    expect(new EventPattern("gs96*:t?st:*").matches(event())).toBe(true);
    expect(new EventPattern("gs9672:test:/var/log/*").matches(event())).toBe(false);
    expect(new EventPattern("*:tes:/var/log/*").matches(event())).toBe(false);
    expect(new EventPattern("*:*:/etc/*").matches(event())).toBe(false);
  });

  test("takes a renamed file by both of its names, and a colon in a path", () => {
    const renamed = event({ event: "renamed", from: "/etc/a:b", path: "/tmp/c" });
    expect(new EventPattern("*:*:/etc/a:b").matches(renamed)).toBe(true);
    expect(new EventPattern("*:*:/tmp/*").matches(renamed)).toBe(true);
    expect(new EventPattern("*:*:/var/*").matches(renamed)).toBe(false);
  });

  test("takes a guest with a colon in its name by an escaped one", () => {
    const named = event({ guest: "a:b", path: "/etc/c:d" });
    for (const text of [
      "*:a\\:b:/etc/c:d",
      "*:a[:]b:*",
      "*:a?b:*:d",
      "*:a*:/etc/*",
      "gs9671:a\\:*:/etc/c\\:d",
    ])
      expect(new EventPattern(text).matches(named), text).toBe(true);
    expect(new EventPattern("*:a:b:/etc/c:d").matches(named)).toBe(false);
    expect(new EventPattern("*:a:b:/etc/*").matches(event({ guest: "a", path: "b:/etc/x" }))).toBe(true);
    expect(new EventPattern("*:a\\:b:/x").guest).toBe("a:b");
    expect(() => new EventPattern("*:a\\:b")).toThrow("a pattern is HOST:VM:PATH");
  });

  test("takes the gaps of its guests, and what has no path only if it takes all", () => {
    const { path: _, ...none } = event();
    const gap = { ...none, event: "gap" } as const;
    expect(new EventPattern("*:test:/etc/*").matches(gap)).toBe(true);
    expect(new EventPattern("*:other:/etc/*").matches(gap)).toBe(false);
    expect(new EventPattern("*:*:/etc/*").matches(none)).toBe(false);
    expect(new EventPattern("*:*:*").matches(none)).toBe(true);
    expect(new EventPattern("*:*:/*").matches(none)).toBe(true);
  });

  test.each(["", "a", "a:b", ":b:c", "a::c", "a:b:"])("%j is refused, as a part is missing", (text) => {
    expect(() => new EventPattern(text)).toThrow("a pattern is HOST:VM:PATH");
  });

  test("that has no end is refused", () => {
    expect(() => new EventPattern("*:*:/a[bc")).toThrow('*:*:/a[bc: no pattern: a "[" has no "]"');
    expect(() => new EventPattern("*:*:/a[b-")).toThrow('a "[" has no "]"');
    expect(() => new EventPattern("*:*:/a\\")).toThrow('it ends with a "\\"');
  });
});

describe("a time since", () => {
  const stored = (time: string) => JSON.stringify(event({ time }));

  test("is one of ISO 8601, or how long ago", () => {
    const selection = new Selection({ since: "2026-03-04T05:06:07Z" });
    expect(selection.takesStored(stored("2026-03-04T05:06:07.000000000Z"))).toBe(true);
    expect(selection.takesStored(stored("2026-03-04T05:06:06.999999999Z"))).toBe(false);
    const ago = (ms: number) => stored(new Date(Date.now() - ms).toISOString());
    expect(new Selection({ since: "10m" }).takesStored(ago(9 * 60_000))).toBe(true);
    expect(new Selection({ since: "10m" }).takesStored(ago(11 * 60_000))).toBe(false);
    expect(new Selection({ since: "2h" }).takesStored(ago(3 * 3_600_000))).toBe(false);
    expect(new Selection({ since: "1d" }).takesStored("{rubbish}")).toBe(false);
  });

  test.each(["", "now", "10", "10 m", "-5m", "2026", "2026-13-01", "Mar 4 2026"])(
    "%j is refused",
    (since) => {
      expect(() => new Selection({ since })).toThrow(/no time; write one as/);
    },
  );
});
