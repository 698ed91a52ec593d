// `node test/live/main.mjs`: the tree against a guest at work, for as long as you like. Run `npm run build` first.
import { parseArgs } from "node:util";
import { recipes } from "./recipes.mjs";
import { proof } from "./run.mjs";

const usage = `usage: node test/live/main.mjs [--recipe NAME]... [--minutes N | --seconds N] [--seed N] [--timer]
                                [--events] [--restart server|all] [--json]
  --recipe NAME  ${Object.keys(recipes).join(", ")}; without it, all
  --timer        the guest's kernel commits every second too, not only when it is told to
  --events       what .events tells must make the tree at the end of the tree at the start
  --attach       the guest is at work before there is a map of its names
  --restart WHAT in the middle: the server is killed, or all is stopped and started again
  --guest OPTION, --reader OPTION   an option for guest.py or reader.py, as --guest=--fsync --guest=0.5
  --tap          the guest reaches its disk by the tap, which tells of its writes
  --keep         leave the image and what was written down, if the tree was wrong
Exit code 1: the tree was wrong.`;

let values;
try {
  ({ values } = parseArgs({
    options: {
      recipe: { type: "string", multiple: true, default: Object.keys(recipes) },
      minutes: { type: "string" },
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: "1" },
      timer: { type: "boolean", default: false },
      guest: { type: "string", multiple: true, default: [] },
      reader: { type: "string", multiple: true, default: [] },
      events: { type: "boolean", default: false },
      attach: { type: "boolean", default: false },
      restart: { type: "string" },
      tap: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  }));
  for (const name of values.recipe) if (!(name in recipes)) throw new Error(`there is no recipe ${name}`);
} catch (error) {
  process.stderr.write(`${error.message}\n${usage}\n`);
  process.exit(2);
}

const seconds = values.minutes === undefined ? Number(values.seconds) : 60 * Number(values.minutes);
for (const name of values.recipe) {
  const { timer, guest, reader, keep, events, attach, restart, tap } = values;
  const report = await proof({
    recipe: recipes[name],
    seed: Number(values.seed),
    seconds,
    timer,
    guest,
    reader,
    keep,
    events,
    attach,
    restart,
    tap,
  });
  const wrong = report.failures.length > 0;
  if (wrong) process.exitCode = 1;
  if (values.json) process.stdout.write(`${JSON.stringify({ recipe: name, ...report })}\n`);
  else {
    const { failures, log, ...figures } = report;
    process.stdout.write(`${wrong ? "WRONG" : "right"} ${name} ${JSON.stringify(figures)}\n`);
    for (const line of failures) process.stdout.write(`  ${line}\n`);
    if (wrong && log) process.stdout.write(log);
  }
}
