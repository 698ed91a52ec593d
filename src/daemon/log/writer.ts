/** What the daemon logs, on standard error: one line for each message, in the form that the user or the journal wants. */
import { fstatSync, writeSync } from "node:fs";
import type { Log, LogAbout, LogLevel } from "../../images/image.js";
import { escapedJson, escapedLine } from "./escape.js";

/**
 * `text`: for people. `json`: an object a line. `journal`: lines with the priority before them that systemd takes from them,
 * `<4>` (sd-daemon(3)).
 */
export const LOG_FORMS = ["text", "json", "journal"] as const;
export type LogForm = (typeof LOG_FORMS)[number];

/** Has the form for the processes and threads that this one starts, so that they need not be told otherwise. */
const VARIABLE = "SLASHCLOUD_LOG";

/** syslog's priorities. */
const PRIORITIES: Readonly<Record<LogLevel, number>> = { error: 3, warning: 4, notice: 5, info: 6 };

let form: LogForm = LOG_FORMS.find((each) => each === process.env[VARIABLE]) ?? "text";

/** The form of what is logged from now on; undefined: the journal's if standard error leads there, else text. */
export function setLogForm(named: LogForm | undefined): void {
  form = named ?? (leadsToJournal() ? "journal" : "text");
  process.env[VARIABLE] = form;
}

/** Writes a line at once: the thread's event loop may stand still. Without a level it is a warning. */
export const writeLog: Log = (line, about) => {
  try {
    writeSync(2, `${logText(form, line, about, new Date())}\n`);
  } catch {
    // Nobody listens.
  }
};

/** The line as it is written, without its end. */
export function logText(as: LogForm, line: string, about: LogAbout | undefined, time: Date): string {
  const { level = "warning", guest, volume } = about ?? {};
  switch (as) {
    case "json":
      return escapedJson(
        JSON.stringify({ time: time.toISOString(), level, guest, volume, message: line, pid: process.pid }),
      );
    case "journal":
      return `<${PRIORITIES[level]}>${escapedLine(line)}`;
    case "text":
      return `slashcloud: ${escapedLine(line)}`;
  }
}

/** Whether standard error is the stream to the journal that systemd has told of (systemd.exec(5), JOURNAL_STREAM). */
function leadsToJournal(): boolean {
  const { JOURNAL_STREAM: stream } = process.env;
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(2, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}
