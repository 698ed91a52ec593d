/** `slashcloud top` in a terminal, and without one. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { eventually, slashcloud, statusOf } from "./support/control-socket.js";
import { cleanUp, endWithTests, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";
import { writtenGuest } from "./support/written-guest.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("top");

afterAll(cleanUp);

/** A terminal, as Python's pty makes one: keys go in, what is shown comes out; `resize` and `stty` are lines of their own. */
const TERMINAL = `
import fcntl, os, pty, select, signal, struct, sys, termios
def size(fd, rows, columns): fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
master, slave = pty.openpty()
size(slave, 24, 100)
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2): os.dup2(slave, fd)
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    ready, _, _ = select.select([0, master], [], [], 0.05)
    if master in ready: os.write(1, os.read(master, 65536))
    if 0 in ready:
        for order in os.read(0, 4096).decode().split():
            if order.startswith("size="):
                rows, columns = order[5:].split("x")
                size(master, int(rows), int(columns))
            elif order.startswith("signal="): os.kill(pid, int(order[7:]))
            else: os.write(master, order.encode())
    done, how = os.waitpid(pid, os.WNOHANG)
    if done: break
while select.select([master], [], [], 0.1)[0]: os.write(1, os.read(master, 65536))
os.write(1, b"\\n%d %s\\n" % (os.waitstatus_to_exitcode(how), b"restored" if termios.tcgetattr(slave) == before else b"left"))
`;

const ESC = "\x1b";
/** What clears the rest of a line, and of the screen. */
const SEQUENCES = new RegExp(`${ESC}\\[[KJ]`, "g");
/** The terminal puts one more CR before a line feed. */
const LINE_END = /\r+\n/;
/** The cursor and the former screen, and nothing after that but what TERMINAL tells of the exit code and of the settings. */
const GIVEN_BACK = new RegExp(`${ESC}\\[\\?25h${ESC}\\[\\?1049l[^${ESC}]*\\n0 restored\\n$`);

async function terminal(...args: string[]) {
  const child = spawn("python3", ["-c", TERMINAL, process.execPath, main, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, TERM: "xterm" },
  });
  endWithTests(child);
  const ended = once(child, "close");
  const terminal = { shown: "", ended, order: (text: string) => void child.stdin.write(`${text} `) };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    terminal.shown += text;
  });
  return terminal;
}

/** The guests in the order of the last screen that is whole, by their first letters. */
function order(shown: string): string {
  const screens = shown.split("\x1b[H").slice(1);
  const last = screens.findLast((screen) => screen.includes("\x1b[J")) ?? "";
  return [...last.matchAll(/(?:^|\r\n)([a-z]\S*) +(?:current|stale|not open) /g)]
    .map(([, name]) => name![0])
    .join("");
}

test("top shows the busiest guest first, sorts by keys, follows the terminal's size, and gives it back", async () => {
  const [a, b] = [await writtenGuest(folder, "a"), await writtenGuest(folder, "b")];
  const served = await serve(join(folder, "top"), { aaa: a.image, bbb: b.image });
  const state = `${served.mountPoint}-state`;
  await eventually(
    () => statusOf(state),
    ({ volumes }) => volumes.every(({ hasPaths }) => hasPaths),
  );
  for (let n = 0; n < 20; n++) writeFileSync(join(b.inside, `file-${n}`), "");
  b.write("last");
  await eventually(
    () => statusOf(state),
    ({ events }) => events.total >= 21,
  );
  // No terminal: once, and no control sequences.
  const once = slashcloud("top", "--state", state);
  expect(once.code).toBe(0);
  expect(once.output).toMatch(
    /^slashcloud on oracle: 2 guests, 2 volumes, .*all is well\n\nGUEST +STATE +EVENTS\/S/,
  );
  expect(once.output).toMatch(/\nbbb +current .*\naaa +current /);
  expect(once.output).not.toContain(ESC);
  expect(slashcloud("top", "--state", state, "--sort", "name").output).toMatch(/\naaa .*\nbbb /);

  const live = await terminal("top", "--state", state);
  await eventually(
    () => live.shown,
    (shown) => order(shown) === "ba",
  );
  expect(live.shown).toContain("\x1b[?1049h");
  live.order("n");
  await eventually(
    () => live.shown,
    (shown) => order(shown) === "ab",
  );
  live.order("w");
  await eventually(
    () => live.shown,
    (shown) => order(shown) === "ba",
  );
  const drawn = live.shown.length;
  live.order("size=5x30");
  const narrow = await eventually(
    () =>
      live.shown
        .slice(drawn)
        .split("\x1b[H")
        .slice(1)
        .findLast((screen) => screen.includes("\x1b[J")) ?? "",
    (screen) => screen !== "" && screen.split(LINE_END).length === 5,
  );
  for (const line of narrow.split(LINE_END))
    expect(line.replace(SEQUENCES, "").length).toBeLessThanOrEqual(30);
  live.order("q");
  await live.ended;
  expect(live.shown).toMatch(GIVEN_BACK);

  for (const end of ["\x03", "signal=15"]) {
    const other = await terminal("top", "--state", state);
    await eventually(
      () => other.shown,
      (shown) => order(shown) !== "",
    );
    other.order(end);
    await other.ended;
    expect(other.shown).toMatch(GIVEN_BACK);
  }
  // A daemon that ends is told of, and does not end it.
  const left = await terminal("top", "--state", state);
  await eventually(
    () => left.shown,
    (shown) => order(shown) !== "",
  );
  for (const guest of [a, b]) guest.unmount();
  expect(await served.stop()).toBe(0);
  await eventually(
    () => left.shown,
    (shown) => shown.includes("no daemon keeps its state"),
  );
  left.order("q");
  await left.ended;
  expect(left.shown).toMatch(/\n0 restored\n$/);
  expect(slashcloud("top", "--state", state)).toMatchObject({ code: 1, output: "" });
});
