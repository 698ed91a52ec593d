/** Asking a daemon at its control socket, and by `slashcloud status`. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { DaemonStatus } from "../../src/daemon/status.js";
import { main } from "./images-serve.js";

/** What a path answers, and its code. */
export async function ask(
  state: string,
  path: string,
): Promise<{ code: number; type: string; text: string }> {
  const asked = request({ socketPath: join(state, "control.sock"), path }).end();
  const [answer] = await once(asked, "response");
  let text = "";
  for await (const piece of answer.setEncoding("utf8")) text += piece;
  return { code: answer.statusCode, type: answer.headers["content-type"], text };
}

/** `slashcloud COMMAND ...ARGS` to its end. */
export function slashcloud(...args: string[]): { code: number | null; output: string; errors: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });
  return { code: status, output: stdout, errors: stderr };
}

/** By the command; its exit code with it. */
export function statusOf(state: string): DaemonStatus & { readonly code: number | null } {
  const { code, output, errors } = slashcloud("status", "--state", state, "--json");
  if (output === "") throw new Error(`no status: ${errors}`);
  return { ...(JSON.parse(output) as DaemonStatus), code };
}

/** The names of the guests; undefined: nobody answers just now. */
export async function guestsOf(state: string): Promise<readonly string[] | undefined> {
  try {
    return (JSON.parse((await ask(state, "/v1/status")).text) as DaemonStatus).guests;
  } catch {
    return undefined;
  }
}

/** Looks until it is so; `limit` in ms. */
export async function eventually<Value>(
  look: () => Value | Promise<Value>,
  isSo: (value: Value) => boolean,
  limit = 60_000,
): Promise<Value> {
  for (const start = performance.now(); ; await sleep(50)) {
    const value = await look();
    if (isSo(value)) return value;
    if (performance.now() - start > limit) throw new Error(`never so: ${JSON.stringify(value)}`);
  }
}
