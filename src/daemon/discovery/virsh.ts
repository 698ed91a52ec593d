/** virsh, libvirt's command line: each call with a deadline, so that a libvirt that hangs holds up nobody. */
import { type ChildProcess, spawn } from "node:child_process";

/** Bytes of an answer that are taken at most. */
const LONGEST_ANSWER = 256 << 20;
/** Bytes of what it says of errors that are kept. */
const MOST_SAID = 4096;
/** s between signs of life on the connection that events come by, and how many may be missing. */
const KEEPALIVE = ["-k", "5", "-K", "2"];

/** What virsh printed until it ended or was ended. */
export interface Answer {
  readonly printed: string;
  /** One line; undefined: all went well. */
  readonly problem: string | undefined;
}

export class Virsh {
  readonly #uri: string;
  /** ms */
  readonly #deadline: number;
  readonly #running = new Set<ChildProcess>();
  #isStopped = false;

  constructor(uri: string, deadline: number) {
    this.#uri = uri;
    this.#deadline = deadline;
  }

  /** Runs commands of virsh's. Never throws. */
  ask(args: readonly string[]): Promise<Answer> {
    const child = this.#spawn([], args);
    const pieces: Buffer[] = [];
    let size = 0;
    let problem: string | undefined;
    const end = (why: string) => {
      problem ??= why;
      child.kill("SIGKILL");
    };
    const timer = setTimeout(() => end(`it has not answered for ${this.#deadline / 1000} s`), this.#deadline);
    child.stdout?.on("data", (piece: Buffer) => {
      size += piece.length;
      if (size > LONGEST_ANSWER) end(`its answer is longer than ${LONGEST_ANSWER >> 20} MiB`);
      else pieces.push(piece);
    });
    return this.#ended(child).then((failure) => {
      clearTimeout(timer);
      return { printed: Buffer.concat(pieces).toString(), problem: problem ?? failure };
    });
  }

  /** Calls `happened` with the name of each kind of event that libvirt tells; resolves when it tells no more, with why. */
  events(happened: (kind: string) => void): Promise<string> {
    const child = this.#spawn(KEEPALIVE, ["event", "--all", "--loop"]);
    let rest = "";
    child.stdout?.setEncoding("utf8").on("data", (piece: string) => {
      const lines = (rest + piece).split("\n");
      rest = (lines.pop() as string).slice(-MOST_SAID);
      for (const line of lines) {
        const kind = /^event '([^']+)' for domain /.exec(line)?.[1];
        if (kind !== undefined) happened(kind);
      }
    });
    return this.#ended(child).then((failure) => failure ?? "it ended");
  }

  /** Ends what runs; nothing is started any more. */
  stop(): void {
    this.#isStopped = true;
    for (const child of this.#running) child.kill("SIGKILL");
  }

  #spawn(options: readonly string[], args: readonly string[]): ChildProcess {
    // It dies with this process, however that ends.
    const wrapped = ["--pdeathsig", "KILL", "--", "virsh", "-q", "-c", this.#uri, ...options, ...args];
    const child = spawn("setpriv", wrapped, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, LC_ALL: "C.UTF-8" },
    });
    this.#running.add(child);
    if (this.#isStopped) child.kill("SIGKILL");
    return child;
  }

  /** Resolves with why it failed, in one line; undefined: it did not. */
  #ended(child: ChildProcess): Promise<string | undefined> {
    let said = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(0, MOST_SAID);
    });
    return new Promise((resolve) => {
      child.on("error", ({ message }) => {
        this.#running.delete(child);
        resolve(message);
      });
      child.on("close", (code, signal) => {
        this.#running.delete(child);
        resolve(code === 0 ? undefined : failureOf(said, signal ?? `exit code ${code}`));
      });
    });
  }
}

function failureOf(said: string, end: string): string {
  // What setpriv says of a program that is not there.
  if (/setpriv: .*virsh.*No such file or directory/.test(said))
    return "virsh is needed for it: install it (Debian: libvirt-clients)";
  const lines = said.split("\n").map((line) => line.replace(/^error: /, "").trim());
  return lines.filter((line) => line !== "").join(": ") || `virsh ended (${end})`;
}
